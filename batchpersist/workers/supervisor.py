"""Gives calls to workers, and recovers the calls of dead and hung ones.

A worker that dies breaks its pool, and all calls in flight are lost. The supervisor starts a new pool and
makes the lost calls again, one at a time. If heartbeats show at which run a worker died, it first cuts the
shard there.

A call that loses its worker while it is alone is to blame: the supervisor halves a shard until it has found
the guilty run, and gives up what cannot be cut, with an outcome that says so.

It kills a worker that hangs, which counts as dead then. A worker that has too little memory returns its call,
which is treated the same, and lives.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..context import RunContext
from ..errors import ExecutorBrokenError, ItemError, WorkerDiedError
from ..persist import Liveness
from .pool import WorkerPool

R = TypeVar("R")

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
"""Between two checks whether to abandon the calls in flight."""


class Call(ABC, Generic[R]):
    """A call for a worker, which can be made again, cut into smaller ones, and given up."""

    @property
    @abstractmethod
    def runs(self) -> int:
        """Runs of the batch that are known so far: they decide whether a pool of processes pays."""

    @property
    def rows(self) -> range:
        """Rows of the plan that the call works on, as heartbeats name them."""
        return range(0)

    @abstractmethod
    def submit(self, pool: WorkerPool, *, sweep: bool) -> Future[R]:
        """Have a worker make the call. ``sweep``: a worker has died, and may have left temporary files.

        Raises BrokenExecutor and WorkersCannotStartError.
        """

    @abstractmethod
    def give_up(self, error: ItemError) -> R:
        """The outcome of a call that no worker survives (WorkerDiedError), or that no worker is left for."""

    def fail(self, error: Exception) -> R:
        """The outcome of a call that raised an error in its worker; by default the error is raised here."""
        raise error

    def cut(self, rows: Collection[int]) -> Sequence[Call[R]]:
        """Smaller calls, in their order: before, at and after the rows at which workers died."""
        return [self]

    def halve(self) -> Sequence[Call[R]]:
        """Two smaller calls, in their order; none where the call cannot be cut."""
        return []

    def clear_locks(self, pids: Collection[int]) -> None:
        """Remove the locks that dead workers, of these process ids, hold on the call's tasks."""


@dataclass(eq=False)
class _Attempt(Generic[R]):
    call: Call[R]
    number: int
    """Calls are numbered as they come; the pieces of one share its number."""
    is_suspect: bool = False
    """Its worker died, or another one of the same pool: the call is made again, alone."""
    out_of_memory: bool = False


class Supervisor(Generic[R]):
    """Makes calls on a worker pool, a bounded number at a time; iterate over their outcomes.

    Outcomes come in order of completion, or ``in_order`` of the calls, which are not cut then. The supervisor
    takes the next call when a worker can have it, and none once ``context`` is stopping. For one use. Raises
    WorkersCannotStartError, and what ``Call.fail`` raises.
    """

    def __init__(
        self,
        pool: WorkerPool,
        calls: Iterable[Call[R]],
        context: RunContext,
        *,
        liveness: Liveness | None = None,
        in_order: bool = False,
        may_abandon: bool = False,
    ) -> None:
        """``may_abandon``: once ``context`` is stopping, end the workers instead of waiting for calls in
        flight: for calls that leave nothing half done.
        """
        self._pool = pool
        self._calls = iter(calls)
        self._context = context
        self._liveness = liveness
        self._in_order = in_order
        self._may_abandon = may_abandon
        self.cut_short = False
        """Calls were left, because the batch is stopping."""
        self._taken = 0
        self._runs = 0
        self._pending: dict[Future[R], _Attempt[R]] = {}
        self._held: dict[int, R] = {}
        """Outcomes that must wait for those of earlier calls, by the number of their call."""
        self._next_out = 0
        self._lost: list[_Attempt[R]] = []
        self._suspects: deque[_Attempt[R]] = deque()
        self._alone: _Attempt[R] | None = None
        """The suspect that is being tried, or was last."""
        self._has_lost = False
        self._is_broken = False
        """Whether the executor broke since it was replaced last."""

    def __iter__(self) -> Iterator[R]:
        while True:
            self._fill()
            if self._pending:
                yield from self._collect()
            elif self._lost:
                yield from self._recover()
            else:
                return

    def _fill(self) -> None:
        """Submit calls until enough are in flight; while there are suspects, one of them alone."""
        while not self._lost and not self._is_full():
            attempt = self._next_attempt()
            if attempt is None:
                return
            try:
                self._pending[attempt.call.submit(self._pool, sweep=self._has_lost)] = attempt
            except BrokenExecutor:  # the call is not to blame
                self._lost.append(attempt)
                self._is_broken = True
            else:
                self._alone = attempt if attempt.is_suspect else None

    def _is_full(self) -> bool:
        if self._suspects or self._alone in self._pending.values():
            return bool(self._pending)
        return len(self._pending) + len(self._held) >= self._pool.in_flight(self._runs)

    def _next_attempt(self) -> _Attempt[R] | None:
        if self.cut_short:
            return None
        attempt = self._suspects.popleft() if self._suspects else self._take_call()
        if attempt is not None and self._context.is_stopping:
            self.cut_short = True
            return None
        return attempt

    def _take_call(self) -> _Attempt[R] | None:
        call = next(self._calls, None)
        if call is None:
            return None
        self._runs = call.runs
        self._taken += 1
        return _Attempt(call, self._taken - 1)

    def _collect(self) -> Iterator[R]:
        done, _ = wait(self._pending, timeout=self._poll_seconds, return_when=FIRST_COMPLETED)
        if not done and self._may_abandon and self._context.is_stopping:
            self._abandon()
            return
        if self._liveness:
            self._liveness.kill_hung(self._pool.live_pids)
        for future in done:
            attempt = self._pending.pop(future)
            try:
                outcome = future.result()
            except BrokenExecutor as error:
                _log.debug("%s was lost: %s", attempt.call, error)
                self._lost.append(attempt)
                self._is_broken = True
                continue
            except MemoryError:
                _log.debug("%s was returned: its worker has too little memory", attempt.call)
                self._lost.append(attempt)
                attempt.out_of_memory = True
                continue
            except Exception as error:
                outcome = attempt.call.fail(error)
            yield from self._deliver(attempt, outcome)

    @property
    def _poll_seconds(self) -> float | None:
        if self._may_abandon:
            return _POLL_SECONDS
        return self._liveness.poll_seconds if self._liveness else None

    def _abandon(self) -> None:
        _log.debug("%d calls in flight are abandoned: the batch is stopping", len(self._pending))
        self._pool.abandon()
        self.cut_short = True
        for calls in (self._pending, self._lost, self._suspects):
            calls.clear()

    def _deliver(self, attempt: _Attempt[R], outcome: R) -> Iterator[R]:
        if not self._in_order:
            yield outcome
            return
        self._held[attempt.number] = outcome
        while self._next_out in self._held:
            yield self._held.pop(self._next_out)
            self._next_out += 1

    def _recover(self) -> Iterator[R]:
        """Make suspects of lost calls, or give them up; no call is in flight now."""
        lost, self._lost = sorted(self._lost, key=lambda attempt: attempt.number), []
        self._has_lost = True
        works, died_at = self._replace_pool(lost) if self._is_broken else (True, set[int]())
        suspects: list[_Attempt[R]] = []
        for attempt in lost:
            if not works:
                yield from self._deliver(
                    attempt, attempt.call.give_up(ExecutorBrokenError("the executor broke"))
                )
                continue
            pieces = attempt.call.cut(died_at)
            if len(pieces) == 1 and lost == [self._alone]:
                pieces = attempt.call.halve()
            for piece in pieces:
                _log.debug("%s is tried again, alone", piece)
                suspects.append(_Attempt(piece, attempt.number, is_suspect=True))
            if not pieces:
                _log.debug("%s is given up: it lost its worker while it was alone", attempt.call)
                yield from self._deliver(attempt, attempt.call.give_up(self._death(attempt)))
        self._suspects.extendleft(reversed(suspects))

    def _replace_pool(self, lost: Sequence[_Attempt[R]]) -> tuple[bool, set[int]]:
        """Whether there are workers again; and the rows at which those of the broken pool were."""
        works, self._is_broken = self._pool.replace_pool(), False
        pids = self._pool.pids
        for attempt in lost:  # before another worker meets the locks
            attempt.call.clear_locks(pids)
        return works, self._liveness.last_rows(pids) if self._liveness else set()

    def _death(self, attempt: _Attempt[R]) -> WorkerDiedError:
        if self._liveness is not None and self._liveness.has_timed_out(attempt.call.rows):
            return WorkerDiedError("run timed out")
        return WorkerDiedError("worker died", "out of memory" if attempt.out_of_memory else "")
