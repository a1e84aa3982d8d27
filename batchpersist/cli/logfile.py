"""A batch's log file: when it began, what a person should know, what failed, how it ended.

One line each, with the time in UTC and a level. The file may be renamed while it is written to
(logrotate): the next line goes to a new one of its name.
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
from .output import say
from .progress import describe_failure, describe_notice

UNFINISHED = (ExitCode.TIMED_OUT, ExitCode.INTERRUPTED, ExitCode.TERMINATED)
"""Exit codes of batches that ended early without a fault of theirs: the same command continues them."""


class Log:
    """Writes to the log file; to none, where there is none."""

    def __init__(self, handler: _Handler | None) -> None:
        self._logger = logging.Logger("batchpersist.log")
        self._handler = handler
        if handler is not None:
            self._logger.addHandler(handler)

    @property
    def failure(self) -> OSError | None:
        """Why lines are missing in the file, if so."""
        return self._handler.failure if self._handler else None

    def info(self, line: str) -> None:
        self._write(logging.INFO, line)

    def error(self, line: str) -> None:
        self._write(logging.ERROR, line)

    def outcome(self, line: str, code: int) -> None:
        """How the batch ended, as serious as its exit code."""
        level = logging.WARNING if code in UNFINISHED else logging.ERROR if code else logging.INFO
        self._write(level, line)

    def show(self, event: Event) -> None:
        """As a display does: all but the progress."""
        if isinstance(event, RunFailed):
            level = logging.WARNING if event.failure.is_a(TaskStateLockError) else logging.ERROR
            self._write(level, describe_failure(event))
        elif isinstance(event, BatchWaiting | BatchResumed | RetryStarted):
            self.info(describe_notice(event))
        elif isinstance(event, BatchStarted):
            self.info(f"batch {event.batch_id} in {event.folder}")

    def close(self) -> None:
        """The file is closed by ``log_to``: there is more to tell after the display's end."""

    def _write(self, level: int, line: str) -> None:
        if self._logger.handlers:
            self._logger.log(level, "%s", line)


@contextmanager
def log_to(path: str | None, should_stop: ShouldStop = never_stop) -> Iterator[Log]:
    """The log in the file ``path`` (appended to; its folder is made); None: none.

    The library's warnings go there, and to standard error. ``path`` may be a link, a device or a pipe as any
    output may (docs/decisions/0023-outputs.md). Raises OSError where it cannot be opened:
    ReaderMissingError where ``should_stop`` ended the wait for whoever reads a pipe. What cannot be written
    later stops nothing, but is remembered.
    """
    handler = None if path is None else _open(path, should_stop)
    log, library = Log(handler), logging.getLogger("batchpersist")
    handlers = [_Printer(logging.WARNING), *([handler] if handler else [])]
    for each in handlers:
        library.addHandler(each)
    try:
        yield log
    finally:
        for each in handlers:
            library.removeHandler(each)
        if handler is not None:
            with suppress(OSError):  # its last lines found no room
                handler.close()


class _Printer(logging.Handler):
    """Prints as Python does where a logger has no handler, but no foreign text as it is."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record), err=True)


class _Handler(logging.Handler):
    """For a batch, which must not end because its log cannot be written."""

    failure: OSError | None = None
    """The first one; more of the same are no news."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # the file was rotated away, and no other can be opened in its place
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
        with suppress(FileExistsError, NotADirectoryError):  # the open says better what is in the way
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        handler = _FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_Lines("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    return handler


class _Lines(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """One line whatever a file or a run is called: nobody may write a line of another's making."""
        return printable(super().format(record))
