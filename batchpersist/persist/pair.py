"""Two writes that start together and both settle (docs/formats.md, "Settling a pair")."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, TypeVar

S = TypeVar("S")
M = TypeVar("M")
T = TypeVar("T")


@dataclass(frozen=True)
class Settled(Generic[T]):
    """How one side ended: with a value, or with an error where ``error`` is not None."""

    value: T | None
    error: Exception | None
    seconds: float


def settle_one(call: Callable[[], T]) -> Settled[T]:
    """Make the call and time it. An Exception becomes data; KeyboardInterrupt and its like are raised."""
    begun = perf_counter()
    try:
        value = call()
    except Exception as error:
        return Settled(None, error, perf_counter() - begun)
    return Settled(value, None, perf_counter() - begun)


def settle_pair(
    snapshot: Callable[[], S], manifest: Callable[[], M], *, concurrent: bool = True
) -> tuple[Settled[S], Settled[M]]:
    """Settle both sides at the same time, the manifest's in the calling thread, or one after the other.

    As far as both wait for the disk, that takes the longer of both times instead of their sum. An Exception
    of either side is data. Anything else, such as KeyboardInterrupt, is raised once both have ended. Where
    no thread can be started (a process at its limit, or at its end), one side follows the other.
    """
    if concurrent:
        # A new thread each time: 50 us dearer than a pool's. But a pool has a size: pairs that wait for it
        # do not start together, and nested ones wait for each other without end. A fork breaks it, too.
        thread = _SnapshotThread(snapshot)
        try:
            thread.start()
        except RuntimeError:
            concurrent = False
    if not concurrent:
        return settle_one(snapshot), settle_one(manifest)
    try:
        settled = settle_one(manifest)
        thread.wait()
    except BaseException:
        thread.wait()
        raise
    return thread.settled(), settled


class _SnapshotThread(threading.Thread, Generic[S]):
    def __init__(self, call: Callable[[], S]) -> None:
        super().__init__(name="batchpersist-snapshot")
        self._call = call
        self._done = threading.Event()
        self._outcome: Settled[S] | BaseException

    def run(self) -> None:
        try:
            self._outcome = settle_one(self._call)
        except BaseException as error:
            self._outcome = error
        finally:
            self._done.set()

    def wait(self) -> None:
        """Wait until the call has ended.

        Not by ``join``: where a signal handler raises out of it, Python 3.10 to 3.12 take the thread for
        ended, and the interpreter does not wait for it at its exit either.
        """
        self._done.wait()

    def settled(self) -> Settled[S]:
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome
