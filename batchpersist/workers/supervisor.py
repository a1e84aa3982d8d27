"""Hands work to workers, and hands a dead worker's share out again: how often, to whom, in what pieces.

A worker that dies breaks its pool, and every call in flight is lost. The supervisor starts a new pool and
makes the lost calls again, one at a time. If heartbeats tell which run a dead worker was at, a shard is cut
there first.

A call that loses its worker while it is alone is to blame: a shard is halved until the guilty run is found,
and what cannot be cut is given up, with an outcome that says so.

A worker that hangs is killed, and counts as dead. One that has too little memory returns its call, which is
treated the same, and lives.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

from ..context import RunContext
from ..errors import ExecutorBrokenError, ItemError, WorkerDiedError, failure_of
from ..locks import clear_locks
from ..models import Shard, ShardOutcome, Side, Work
from ..paths import Layout
from ..persist import Liveness, empty_outcome
from ..plan import ShardJob, make_job
from .pool import WorkerPool

if TYPE_CHECKING:
    import pyarrow as pa

R = TypeVar("R")

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
"""Between two looks whether to abandon the calls in flight."""


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
    def submit(self, crew: WorkerPool, *, sweep: bool) -> Future[R]:
        """Start the call. ``sweep``: a worker has died, and may have left temporary files.

        Raises BrokenExecutor and WorkersCannotStartError.
        """

    @abstractmethod
    def give_up(self, error: ItemError) -> R:
        """The outcome of a call that no worker survives (WorkerDiedError), or that no worker is left for."""

    def fail(self, error: Exception) -> R:
        """The outcome of a call that raised an error in a worker; by default the error is raised here."""
        raise error

    def cut(self, rows: Collection[int]) -> Sequence[Call[R]]:
        """Smaller calls, in their order, for what lies before, at and behind rows at which workers died."""
        return [self]

    def halve(self) -> Sequence[Call[R]]:
        """Two smaller calls, in their order; none where the call cannot be cut."""
        return []

    def clear_locks(self, pids: Collection[int]) -> None:
        """Remove the locks that dead workers, of these process ids, hold on what the call works on."""


@dataclass(frozen=True, eq=False)
class ShardCall(Call[ShardOutcome]):
    """Has a worker persist a shard."""

    table: pa.Table
    """The plan's rows."""
    shard: Shard
    persist: Callable[[ShardJob], ShardOutcome]
    """What the worker does; picklable."""
    layout: Layout

    def __str__(self) -> str:
        return (
            f"shard {self.shard.number} ({self.shard.work.value}, rows {self.shard.start}-{self.shard.stop})"
        )

    @property
    def runs(self) -> int:
        return int(self.table.num_rows)

    @property
    def rows(self) -> range:
        return range(self.shard.start, self.shard.stop)

    def submit(self, crew: WorkerPool, *, sweep: bool) -> Future[ShardOutcome]:
        return crew.submit(self.runs, self.persist, make_job(self.table, self.shard, sweep=sweep))

    def give_up(self, error: ItemError) -> ShardOutcome:
        return failed_outcome(self.shard, error)

    def fail(self, error: Exception) -> ShardOutcome:
        return failed_outcome(self.shard, error, defect=not isinstance(error, OSError))

    def cut(self, rows: Collection[int]) -> Sequence[ShardCall]:
        edges = {edge for row in rows if row in self.rows for edge in (row, row + 1)}
        return self._pieces(sorted(edges | {self.shard.start, self.shard.stop}))

    def halve(self) -> Sequence[ShardCall]:
        """A task cut in two keeps the order of its history, since the halves are persisted in their order."""
        if len(self.rows) == 1:
            return []
        return self._pieces([self.shard.start, (self.shard.start + self.shard.stop) // 2, self.shard.stop])

    def _pieces(self, bounds: Sequence[int]) -> Sequence[ShardCall]:
        shards = (self.shard._replace(start=start, stop=stop) for start, stop in pairwise(bounds))
        return [replace(self, shard=shard) for shard in shards]

    def clear_locks(self, pids: Collection[int]) -> None:
        tasks = self.table["task_id"].slice(self.shard.start, len(self.rows)).cast("string").unique()
        for task_id in tasks.to_pylist():
            clear_locks(self.layout, task_id, pids)


def failed_outcome(shard: Shard, error: Exception, *, defect: bool = False) -> ShardOutcome:
    """The outcome of a shard that no worker returned: every side it was to persist has failed."""
    outcome = empty_outcome(shard)
    outcome.defect = defect
    failure = failure_of(error)
    rows = range(shard.stop - shard.start)
    if shard.work is not Work.MANIFEST:
        outcome.snapshot = array("b", [Side.FAILED] * len(rows))
        outcome.snapshot_failures = dict.fromkeys(rows, failure)
    if shard.work is not Work.SNAPSHOT:
        outcome.manifest = array("b", [Side.FAILED] * len(rows))
        outcome.manifest_failures = dict.fromkeys(rows, failure)
    return outcome


@dataclass(eq=False)
class _Attempt(Generic[R]):
    call: Call[R]
    number: int
    """Calls are numbered as they come; the pieces of one share its number."""
    is_suspect: bool = False
    """Its worker died, or another one of the same pool: it is made again alone."""
    out_of_memory: bool = False


class Supervisor(Generic[R]):
    """Makes calls on a crew, a bounded number at a time; iterate over their outcomes.

    They come in order of completion, or ``in_order`` of the calls, which are not cut then. A call is taken
    from ``calls`` when there is room for it, and no further one once ``context`` is stopping. For one use.
    Raises WorkersCannotStartError, and what ``Call.fail`` raises.
    """

    def __init__(
        self,
        crew: WorkerPool,
        calls: Iterable[Call[R]],
        context: RunContext,
        *,
        liveness: Liveness | None = None,
        in_order: bool = False,
        may_abandon: bool = False,
    ) -> None:
        """``may_abandon``: once ``context`` is stopping, calls in flight are not waited for, and their
        workers end: they leave nothing half done.
        """
        self._crew = crew
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
        """Outcomes that come before their turn, by the number of their call."""
        self._next_out = 0
        self._lost: list[_Attempt[R]] = []
        self._suspects: deque[_Attempt[R]] = deque()
        self._alone: _Attempt[R] | None = None
        """The suspect that is being tried, or was last."""
        self._has_lost = False
        self._is_broken = False
        """The executor, since it was replaced last."""

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
                self._pending[attempt.call.submit(self._crew, sweep=self._has_lost)] = attempt
            except BrokenExecutor:  # the call is not to blame
                self._lost.append(attempt)
                self._is_broken = True
            else:
                self._alone = attempt if attempt.is_suspect else None

    def _is_full(self) -> bool:
        if self._suspects or self._alone in self._pending.values():
            return bool(self._pending)
        return len(self._pending) + len(self._held) >= self._crew.in_flight(self._runs)

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
            self._liveness.kill_hung(self._crew.live_pids)
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
        _log.debug("%d calls in flight are abandoned, since the batch is to stop", len(self._pending))
        self._crew.abandon()
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
        """Make lost calls suspects, or give them up; nothing is in flight now."""
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
        works, self._is_broken = self._crew.replace_pool(), False
        pids = self._crew.pids
        for attempt in lost:  # before anybody else works on it
            attempt.call.clear_locks(pids)
        return works, self._liveness.last_rows(pids) if self._liveness else set()

    def _death(self, attempt: _Attempt[R]) -> WorkerDiedError:
        if self._liveness is not None and self._liveness.has_timed_out(attempt.call.rows):
            return WorkerDiedError("run timed out")
        return WorkerDiedError("worker died", "out of memory" if attempt.out_of_memory else "")
