"""Executors beside the standard library's, and what all of them ask for."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")


def usable_cpus() -> int:
    """Those that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not everywhere there, nor allowed
        return os.cpu_count() or 1


class SerialExecutor(Executor):
    """Runs each call at once in the calling thread: one worker, in-process."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Returns a future that is done already."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class ElasticExecutor(Executor):
    """An executor whose workers come and go.

    A call that was lost with its worker raises BrokenExecutor from its own future alone, and can be made
    again as long as ``is_alive``.
    """

    @property
    def threads(self) -> int:
        """Calls that are made at the same time, about."""
        raise NotImplementedError

    def is_alive(self) -> bool:
        """Whether another call may succeed."""
        raise NotImplementedError

    def check_reach(self, path: str) -> None:
        """Raises UsageError where a worker does not see the file ``path``."""
        raise NotImplementedError
