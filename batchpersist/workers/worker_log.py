"""The log records of pool workers, which reach the parent's loggers together with the outcome of each call.

A worker collects the records of its call and returns them as data. So logging never makes a worker wait, and
one that is killed loses the lines of that call alone. Lines keep the time at which they were written, but
those of several workers do not come in the order of their times.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_RECORDS = 10_000
"""Of one call; a shard has 1,000 runs at most, but for a task that was split."""

_library = logging.getLogger("batchpersist")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoggedResult(Generic[T]):
    """What a worker returns: the value of the call or the error that it raised, and its log records."""

    value: T | None
    error: Exception | None
    records: list[logging.LogRecord]


class _Collector(QueueHandler):
    """Keeps the first records, made picklable by the standard library's handler, and counts the others."""

    def __init__(self) -> None:
        super().__init__(SimpleQueue())
        self.records: list[logging.LogRecord] = []
        self.omitted = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        if len(self.records) < MOST_RECORDS:
            self.records.append(record)
        else:
            self.omitted += 1


def is_log_wanted() -> bool:
    """Whether anybody listens to debug lines of this package, in the calling process."""
    return _library.isEnabledFor(logging.DEBUG)


def call_with_log(call: Callable[..., T], *args: object) -> LoggedResult[T]:
    """For a worker: make a call with all lines of this package collected, from DEBUG on."""
    collector, before = _Collector(), _library.level
    _library.addHandler(collector)
    _library.setLevel(logging.DEBUG)
    value: T | None = None
    error: Exception | None = None
    try:
        value = call(*args)
    except MemoryError as raised:  # its traceback would take more
        error = raised
    except Exception as raised:
        _log.debug("a call failed in a worker", exc_info=True)
        error = raised
    finally:
        _library.removeHandler(collector)
        _library.setLevel(before)
    return LoggedResult(value, error, collector.records + _omission(collector.omitted))


def _omission(omitted: int) -> list[logging.LogRecord]:
    if not omitted:
        return []
    message = "%d more lines of this call are left out"
    return [_log.makeRecord(_log.name, logging.DEBUG, __file__, 0, message, (omitted,), None)]


def forward_log(call: Future[LoggedResult[T]]) -> Future[T]:
    """For the parent: a future of the call's own value or error, done once its lines have been logged.

    They are logged in the executor's thread. A call whose worker died passes its error on.
    """
    outer: Future[T] = Future()
    outer.set_running_or_notify_cancel()
    call.add_done_callback(partial(_pass_on, outer))
    return outer


def _pass_on(outer: Future[T], call: Future[LoggedResult[T]]) -> None:
    lost = call.exception()
    if lost is not None:
        outer.set_exception(lost)
        return
    result = call.result()
    try:
        for record in result.records:
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
    finally:  # whatever a handler raises: a call that is never done would be waited for without end
        if result.error is not None:
            outer.set_exception(result.error)
        else:
            outer.set_result(result.value)  # type: ignore[arg-type]  # None only where T is
