"""All printing of the command.

No file name or id can steer a terminal or forge a line. A full disk behind standard output, or a reader that
is gone, stops no work; if output was lost, the exit code says so.
"""

from __future__ import annotations

import errno
import io
import json
import os
import select
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, BinaryIO, TextIO

import click

from ..context import ShouldStop, never_stop
from ..exit_codes import ExitCode
from ..foreign_text import encodable_document, printable
from ..storage.result_files import STANDARD_OUTPUT, open_output


class _StandardStream(io.FileIO):
    """A standard stream. After its first error it drops what is written, and raises nothing."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data)
        while left and self.failure is None:
            try:
                written = super().write(left)
                if written is None:  # another process made it non-blocking, and it is full
                    select.select([], [self], [])
                left = left[written or 0 :]
            except OSError as error:
                self.failure = error
        return len(data)


_standard_output: _StandardStream | None = None


def take_over_streams() -> None:
    """Replace the standard streams: errors are kept, and characters that the encoding lacks are escaped."""
    global _standard_output
    _standard_output, sys.stdout = _take_over(sys.stdout)
    _, sys.stderr = _take_over(sys.stderr)


def _take_over(stream: TextIO) -> tuple[_StandardStream | None, TextIO]:
    if stream is None:  # it is closed
        return None, stream
    raw = _StandardStream(stream.fileno(), "wb", closefd=False)
    # Standard error has no buffer: a signal that stops the command right after a write would leave the line
    # in the buffer, and it would be printed twice.
    buffer = raw if stream is sys.stderr else io.BufferedWriter(raw)
    return raw, io.TextIOWrapper(
        buffer,
        stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.isatty(),
        write_through=buffer is raw,
    )


def final_exit_code(code: int) -> int:
    """``code``, or ``ERROR`` if output was lost. A closed pipe (``head``) loses nothing."""
    return ExitCode.ERROR if _lost_output() else code


def report_lost_output() -> None:
    """Print on standard error why output was lost, if it was."""
    if error := _lost_output():
        name = errno.errorcode.get(error.errno or 0, "?")
        print_line(f"Error: standard output could not be written: [{name}] {error.strerror}", err=True)


def _lost_output() -> OSError | None:
    failure = _standard_output.failure if _standard_output else None
    return None if isinstance(failure, BrokenPipeError) else failure


def print_line(line: str, *, err: bool = False, prefix: str = "", end: str = "\n") -> None:
    """Print one line; control characters are escaped. ``prefix`` and ``end`` are printed as they are."""
    click.echo(f"{prefix}{printable(line)}{end}", file=sys.stderr if err else sys.stdout, nl=False)


def replace_closed_streams() -> None:
    """Replace standard streams that are closed (``2>&-``, and some daemons).

    Otherwise the next files to be opened would get their numbers, and output meant for the streams. Standard
    error is discarded then; writing to standard output fails, as it should.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:  # os.open returns the lowest free number
            os.set_inheritable(os.open(os.devnull, flags), True)
    sys.stdout = sys.stdout or _open_stream(1)
    sys.stderr = sys.stderr or _open_stream(2)


def _open_stream(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def print_event(message_type: str, **content: object) -> None:
    """Print one JSON event, in ASCII only, so that no encoding can spoil it."""
    event = encodable_document({"message_type": message_type, **content})
    print_line(json.dumps(event).replace("\x7f", r"\u007f"))


@contextmanager
def open_document(path: str | None, should_stop: ShouldStop = never_stop) -> Iterator[BinaryIO]:
    """Open the output ``path`` as ``open_output`` does; None or ``-``: standard output, as bytes."""
    if path is not None and path != STANDARD_OUTPUT:
        with open_output(path, should_stop) as file:
            yield file
    else:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()


def write_document(
    chunks: Iterable[bytes], path: str | None = None, should_stop: ShouldStop = never_stop
) -> None:
    """Write a document that comes in pieces; stop asking for pieces if standard output fails."""
    with open_document(path, should_stop) as file:
        for chunk in chunks:
            file.write(chunk)
            if path in (None, STANDARD_OUTPUT) and _standard_output and _standard_output.failure:
                break


def print_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of words in aligned columns."""
    table = [list(map(printable, row)) for row in (heading, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print_line("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For ``sys.excepthook``: print a traceback with control characters escaped."""
    for part in traceback.format_exception(kind, error, trace):
        for line in part.splitlines():
            print_line(line, err=True)
