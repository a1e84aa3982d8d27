"""Printing: what nobody reads, or what there is no room for, stops no work, but the exit code tells.

All that is printed goes through here, so that no file name or id steers a terminal or forges a line.
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
    """A standard stream: after its first error nothing more is written there, and nobody is disturbed."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data)
        while left and self.failure is None:
            try:
                written = super().write(left)
                if written is None:  # whoever made the stream shares it without blocking, and it is full
                    select.select([], [self], [])
                left = left[written or 0 :]
            except OSError as error:
                self.failure = error
        return len(data)


_standard_output: _StandardStream | None = None


def take_over_streams() -> None:
    """Take over the standard streams; what their encoding lacks is shown with escapes from now on."""
    global _standard_output
    _standard_output, sys.stdout = _take_over(sys.stdout)
    _, sys.stderr = _take_over(sys.stderr)


def _take_over(stream: TextIO) -> tuple[_StandardStream | None, TextIO]:
    if stream is None:  # it is closed
        return None, stream
    raw = _StandardStream(stream.fileno(), "wb", closefd=False)
    # Standard error has no buffer: a signal that stops at once, right after a write, would leave the line
    # there, to be written once more.
    buffer = raw if stream is sys.stderr else io.BufferedWriter(raw)
    return raw, io.TextIOWrapper(
        buffer,
        stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.isatty(),
        write_through=buffer is raw,
    )


def final_exit_code(code: int) -> int:
    """The exit code of a command that would exit with ``code``: ``ERROR`` where its output was lost.

    A reader of standard output who has enough (``head``) loses nothing.
    """
    return ExitCode.ERROR if _lost_output() else code


def report_lost_output() -> None:
    """Say on standard error why standard output could not be written, if so."""
    if error := _lost_output():
        name = errno.errorcode.get(error.errno or 0, "?")
        print_line(f"Error: standard output could not be written: [{name}] {error.strerror}", err=True)


def _lost_output() -> OSError | None:
    failure = _standard_output.failure if _standard_output else None
    return None if isinstance(failure, BrokenPipeError) else failure


def print_line(line: str, *, err: bool = False, before: str = "", end: str = "\n") -> None:
    """Print a line: one line whatever it holds. ``before`` and ``end`` are printed as they are."""
    click.echo(f"{before}{printable(line)}{end}", file=sys.stderr if err else sys.stdout, nl=False)


def replace_closed_streams() -> None:
    """Put something in the place of standard streams that are closed (``2>&-``, or as some daemons do).

    Files that are opened would take their numbers otherwise, and what is meant for the streams would be
    written to these. Standard error goes nowhere then; writing to standard output fails, as it should.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:  # the lowest free number is given to what is opened next
            os.set_inheritable(os.open(os.devnull, flags), True)
    sys.stdout = sys.stdout or _open_stream(1)
    sys.stderr = sys.stderr or _open_stream(2)


def _open_stream(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def print_event(message_type: str, **content: object) -> None:
    """Print one JSON event. ASCII only, so that no terminal or pipe can spoil it."""
    event = encodable_document({"message_type": message_type, **content})
    print_line(json.dumps(event).replace("\x7f", r"\u007f"))


@contextmanager
def open_document(path: str | None, should_stop: ShouldStop = never_stop) -> Iterator[BinaryIO]:
    """The output ``path`` (as ``open_output``); None: standard output, for a document in an encoding of its
    own."""
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
    """Write a document that comes in pieces; no more of them than there is somebody to read."""
    with open_document(path, should_stop) as file:
        for chunk in chunks:
            file.write(chunk)
            if path in (None, STANDARD_OUTPUT) and _standard_output and _standard_output.failure:
                break


def print_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of words, in columns as wide as they need."""
    table = [list(map(printable, row)) for row in (heading, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print_line("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """As ``sys.excepthook``: a defect's message may hold foreign text, too."""
    for part in traceback.format_exception(kind, error, trace):
        for line in part.splitlines():
            print_line(line, err=True)
