"""A batch's log file: when it began, what a person should know, what failed, how it ended.

One line each, with the time in UTC and a level. The file may be renamed while it is written to
(logrotate): the next line goes to a new one of its name.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import WatchedFileHandler

from ..models import Begun, Continuing, Event, Retry, RunFailure, Waiting
from .progress import describe_failure, describe_notice

_LOCKED = "TaskStateLockError"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Log:
    """Writes to the log file; to none, where there is none."""

    def __init__(self) -> None:
        self._logger = logging.Logger("batchpersist.log")

    def add(self, handler: logging.Handler) -> None:
        self._logger.addHandler(handler)

    def info(self, line: str) -> None:
        self._write(logging.INFO, line)

    def warn(self, line: str) -> None:
        self._write(logging.WARNING, line)

    def error(self, line: str) -> None:
        self._write(logging.ERROR, line)

    def show(self, event: Event) -> None:
        """As a display does: all but the progress."""
        if isinstance(event, RunFailure):
            level = logging.WARNING if event.failure.type == _LOCKED else logging.ERROR
            self._write(level, describe_failure(event))
        elif isinstance(event, Waiting | Continuing | Retry):
            self.info(describe_notice(event))
        elif isinstance(event, Begun):
            self.info(f"batch {event.batch_id} in {event.folder}")

    def close(self) -> None:
        """The file is closed by ``log_to``: there is more to tell after the display's end."""

    def _write(self, level: int, line: str) -> None:
        if self._logger.handlers:
            self._logger.log(level, "%s", line)


@contextmanager
def log_to(path: str | None) -> Iterator[Log]:
    """The log in the file ``path`` (appended to), which has the library's warnings as well; None: none.

    Raises OSError where the file cannot be opened. What cannot be written later is lost, and stops nothing.
    """
    log = Log()
    if path is None:
        yield log
        return
    library, handler = logging.getLogger("batchpersist"), _Handler(path)
    # A logger that has a handler does no longer say on standard error what nobody else would hear.
    handlers = [handler, *([logging.lastResort] if logging.lastResort else [])]
    for each in handlers:
        library.addHandler(each)
    log.add(handler)
    try:
        yield log
    finally:
        for each in handlers:
            library.removeHandler(each)
        with suppress(OSError):  # its last lines found no room
            handler.close()


class _Handler(WatchedFileHandler):
    """For a batch, which must not end because its log cannot be written."""

    def __init__(self, path: str) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(_Lines("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # the file was rotated away, and no other can be opened in its place
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Be silent: the same is told on standard error or in the metrics."""


class _Lines(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """One line whatever a file or a run is called: nobody may write a line of another's making."""
        return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], super().format(record))
