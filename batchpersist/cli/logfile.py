"""The log of a command: what ``--log-file`` gets, and what of the library's records is printed.

A file gets one line for each: start, notices, failures, summary, exit code, and the library's warnings; with
``-vv`` also its debug lines, which say why something was done. Each line begins with the time in UTC and a
level. The file may be renamed while it is open (logrotate): the next line goes to a new file of its name.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler

from ..context import ShouldStop, never_stop
from ..errors import TaskStateLockError
from ..events import BatchResumed, BatchStarted, BatchWaiting, Event, RetryStarted, RunFailed
from ..exit_codes import ExitCode
from ..foreign_text import printable
from ..storage.result_files import is_stream, open_stream
from .output import print_line
from .progress import describe_failure, describe_notice

UNFINISHED = (ExitCode.TIMED_OUT, ExitCode.INTERRUPTED, ExitCode.TERMINATED)
"""Exit codes of batches that stopped early without an error: the same command continues them."""


class Log:
    """Writes to the log file, if there is one. Shows events as a display does."""

    def __init__(self, handler: _Handler | None) -> None:
        self._logger = logging.Logger("batchpersist.log")
        self._handler = handler
        if handler is not None:
            self._logger.addHandler(handler)

    @property
    def failure(self) -> OSError | None:
        """Why lines are missing in the file; None: none are."""
        return self._handler.failure if self._handler else None

    def info(self, line: str) -> None:
        self._write(logging.INFO, line)

    def error(self, line: str) -> None:
        self._write(logging.ERROR, line)

    def outcome(self, line: str, code: int) -> None:
        """Log how the command ended, at the level that its exit code deserves."""
        level = logging.WARNING if code in UNFINISHED else logging.ERROR if code else logging.INFO
        self._write(level, line)

    def show(self, event: Event) -> None:
        """Log an event. Progress is left out."""
        if isinstance(event, RunFailed):
            level = logging.WARNING if event.failure.is_a(TaskStateLockError) else logging.ERROR
            self._write(level, describe_failure(event))
        elif isinstance(event, BatchWaiting | BatchResumed | RetryStarted):
            self.info(describe_notice(event))
        elif isinstance(event, BatchStarted):
            self.info(f"batch {event.batch_id} in {event.folder}")

    def close(self) -> None:
        """Do nothing: the summary is logged after the display is closed. ``log_to`` closes the file."""

    def _write(self, level: int, line: str) -> None:
        if self._logger.handlers:
            self._logger.log(level, "%s", line)


@contextmanager
def log_to(path: str | None, should_stop: ShouldStop = never_stop, *, debug: bool = False) -> Iterator[Log]:
    """Open the log; None: no file. Its folder is made, and the file is appended to.

    Inside the block the library's warnings go to the file and to standard error, with ``debug`` its other
    records too: these may be a line a run, which costs time, so they are not in every log. ``path`` may be a
    link, a device or a pipe like any output (docs/decisions/0023-outputs.md). Raises OSError if it cannot be
    opened: ReaderMissingError if ``should_stop`` ended the wait for the reader of a pipe. A line that cannot
    be written later stops nothing; ``Log.failure`` has the first error.
    """
    file_handler = None if path is None else _open(path, should_stop)
    handlers: list[logging.Handler] = [_Printer(logging.DEBUG if debug else logging.WARNING)]
    handlers += [file_handler] if file_handler else []
    library = logging.getLogger("batchpersist")
    level = library.level
    if debug:
        library.setLevel(logging.DEBUG)
    for handler in handlers:
        library.addHandler(handler)
    try:
        yield Log(file_handler)
    finally:
        library.setLevel(level)
        for handler in handlers:
            library.removeHandler(handler)
        if file_handler is not None:
            with suppress(OSError):  # the disk is full: its last lines are lost
                file_handler.close()


class _Printer(logging.Handler):
    """Prints warnings as they are, and other records with the module that logs them."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        is_warning = record.levelno >= logging.WARNING
        print_line(line if is_warning else f"{record.name}: {line}", err=True)


class _Handler(logging.Handler):
    """Keeps its first error instead of raising it: a batch must not end because its log cannot be written."""

    failure: OSError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # WatchedFileHandler: the file was renamed, and no new one can be opened
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if self.failure is None and isinstance(error, OSError):
            self.failure = error


class _FileHandler(_Handler, WatchedFileHandler):
    pass


class _StreamHandler(_Handler, logging.StreamHandler):  # type: ignore[type-arg]  # generic from 3.11 on
    def close(self) -> None:
        super().close()
        self.stream.close()


def _open(path: str, should_stop: ShouldStop) -> _Handler:
    handler: _Handler
    if is_stream(path):
        stream = open_stream(path, should_stop)
        handler = _StreamHandler(TextIOWrapper(stream, "utf-8", errors="backslashreplace"))
    else:
        with suppress(FileExistsError, NotADirectoryError):  # to open the file names the obstacle better
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        handler = _FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_Lines("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    return handler


class _Lines(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever a file or a run is called: no name can forge a line of the log."""
        return printable(super().format(record))
