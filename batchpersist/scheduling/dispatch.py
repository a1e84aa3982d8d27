"""Handing work to an executor and taking the results, a bounded number in flight."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from ..context import RunContext
from ..errors import ExecutorBrokenError, WorkerDiedError, failure_of
from ..models import Shard, ShardOutcome, Side, Work
from ..planning.job import ShardJob, make_job
from ..settling.settle import blank_outcome
from .crew import Crew
from .watchdog import Watchdog

if TYPE_CHECKING:
    import pyarrow as pa

R = TypeVar("R")


Submit = Callable[[], "Future[R]"]

_POLL_SECONDS = 0.1

LOST = (BrokenExecutor, MemoryError)
"""What a call ends with that did not fail by itself, or not for certain: its worker died, or was about to."""


def in_order(
    submits: Iterable[Submit[R]],
    in_flight: Callable[[], int],
    retry: Callable[[Submit[R]], R],
    check: Callable[[], None] = lambda: None,
) -> Iterator[R]:
    """Start each call, keep a bounded number under way, and give back the results in their order.

    ``retry`` makes a call again that was ``LOST``; nothing else is under way on a pool that it has
    replaced. ``check`` is called while a result is waited for: what it raises ends the wait, and the calls
    go on.
    """
    pending: deque[tuple[Submit[R], Future[R] | None]] = deque()

    def result() -> R:
        submit, future = pending.popleft()
        while future is not None and not wait([future], _POLL_SECONDS).done:
            check()
        try:
            return retry(submit) if future is None else future.result()
        except LOST:
            return retry(submit)

    for submit in submits:
        try:
            pending.append((submit, submit()))
        except BrokenExecutor:
            pending.append((submit, None))
        if len(pending) >= in_flight():
            yield result()
    while pending:
        yield result()


class Settling:
    """Settles a plan's shards on a crew; iterate over the outcomes, in order of completion.

    A worker that dies breaks its pool and every shard in flight; one that has too little memory for its
    shard gives it back in time. Those are tried again one
    at a time on a new pool, cut at the run that it was at if that is known; one that dies alone is
    halved, until the guilty run is found.
    """

    def __init__(
        self,
        crew: Crew,
        rows: pa.Table,
        shards: Iterable[Shard],
        settle: Callable[[ShardJob], ShardOutcome],
        context: RunContext,
        bury: Callable[[str, set[int]], None] = lambda _task_id, _pids: None,
        watchdog: Watchdog | None = None,
    ) -> None:
        """``settle`` is called in the workers, so it must be picklable. Once ``context`` is
        stopping, no further shard is begun.

        ``bury`` is called for each task that a dead worker may have been at, with the pids of all workers
        so far: before anybody else works on it. ``watchdog`` looks after the workers while they are
        waited for.
        """
        self._crew = crew
        self._rows = rows
        self._shards = deque(shards)
        self._settle = settle
        self._context = context
        self._bury = bury
        self._watchdog = watchdog
        self._pending: dict[Future[ShardOutcome], Shard] = {}
        self._lost: list[Shard] = []
        self._suspects: deque[Shard] = deque()
        self._alone: Shard | None = None
        """The suspect that is being tried, or was last."""
        self._deaths = 0
        self._broken = False
        """The executor, since it was replaced last."""
        self._hungry: set[int] = set()
        """The first rows of shards for which there was too little memory."""

    @property
    def cut_short(self) -> bool:
        """Once it has ended: whether shards were left, because it was to stop."""
        return bool(self._shards or self._suspects)

    def __iter__(self) -> Iterator[ShardOutcome]:
        while True:
            if not self._lost:
                self._fill()
            if self._pending:
                yield from self._collect()
            elif self._lost:
                self._deaths += 1
                yield from self._recover()
            else:
                return

    def _fill(self) -> None:
        """Submit shards until enough are in flight; while there are suspects, one of them alone."""
        runs = self._rows.num_rows
        while not self._lost and not self._context.is_stopping:
            being_tried = self._suspects or self._alone in self._pending.values()
            if len(self._pending) >= (1 if being_tried else self._crew.in_flight(runs)):
                return
            waiting = self._suspects or self._shards
            if not waiting:
                return
            shard, alone = waiting.popleft(), waiting is self._suspects
            try:
                job = make_job(self._rows, shard, sweep=bool(self._deaths))
                self._pending[self._crew.submit(runs, self._settle, job)] = shard
                self._alone = shard if alone else None
            except BrokenExecutor:  # it is not to blame
                self._lost.append(shard)
                self._broken = True

    def _collect(self) -> Iterator[ShardOutcome]:
        patience = self._watchdog.poll_seconds if self._watchdog else None
        done, _ = wait(self._pending, timeout=patience, return_when=FIRST_COMPLETED)
        if self._watchdog:
            self._watchdog.look()
        for future in done:
            shard = self._pending.pop(future)
            try:
                yield future.result()
            except BrokenExecutor:
                self._lost.append(shard)
                self._broken = True
            except MemoryError:
                self._lost.append(shard)
                self._hungry.add(shard.start)
            except OSError as error:
                yield failed_outcome(shard, error)
            except Exception as error:
                yield failed_outcome(shard, error, defect=True)

    def _recover(self) -> Iterator[ShardOutcome]:
        """Try again what a broken pool lost, one piece at a time; cut up the one that broke it alone."""
        lost, self._lost = sorted(self._lost), []
        works, last_rows = True, set[int]()
        if self._broken:
            works = self._crew.replace_pool()
            for task_id in self._tasks(lost):
                self._bury(task_id, self._crew.pids)
            if self._watchdog:  # of the dead alone: who lives goes on with the same signs of life
                last_rows = self._watchdog.last_rows(self._crew.pids)
        self._broken = False
        if not works:
            yield from (failed_outcome(shard, ExecutorBrokenError("the executor broke")) for shard in lost)
        elif lost == [self._alone] and lost[0].stop - lost[0].start == 1:
            yield failed_outcome(lost[0], self._death(lost[0].start))
        else:
            pieces = [piece for shard in lost for piece in _cut_at(shard, last_rows)]
            if pieces == lost == [self._alone]:
                pieces = _halves(lost[0])
            self._suspects.extendleft(reversed(pieces))

    def _death(self, row: int) -> WorkerDiedError:
        if self._watchdog is not None and self._watchdog.timed_out(row):
            return WorkerDiedError("run timed out")
        return WorkerDiedError("worker died", "out of memory" if row in self._hungry else "")

    def _tasks(self, shards: Iterable[Shard]) -> set[str]:
        ids = (self._rows["task_id"].slice(shard.start, shard.stop - shard.start) for shard in shards)
        return {task_id for column in ids for task_id in column.cast("string").unique().to_pylist()}


def _cut_at(shard: Shard, rows: set[int]) -> list[Shard]:
    """In row order: what lies before, at and behind the rows at which workers died; the shard if none did."""
    edges = {edge for row in rows if shard.start <= row < shard.stop for edge in (row, row + 1)}
    bounds = sorted(edges | {shard.start, shard.stop})
    return [shard._replace(start=start, stop=stop) for start, stop in pairwise(bounds)]


def _halves(shard: Shard) -> list[Shard]:
    """In row order, and settled in this order: a task cut in two keeps its history's order."""
    middle = (shard.start + shard.stop) // 2
    return [shard._replace(stop=middle), shard._replace(start=middle)]


def failed_outcome(shard: Shard, error: Exception, *, defect: bool = False) -> ShardOutcome:
    """The outcome of a shard that no worker brought home: every side it was to settle has failed."""
    outcome = blank_outcome(shard)
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
