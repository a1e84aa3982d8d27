"""One side of a group of pairs: its snapshots, one commit for each task."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from ..errors import ItemError, TaskStateLockError, failure_of
from ..files.durability import SyncGroup
from ..models import Commit, ShardOutcome, Side
from ..options import PersistOptions
from ..phaseclock import LOCK_WAIT, SNAPSHOT, in_phase
from ..planning.job import ShardRows
from ..snapshots.commit import StagedSnapshot
from ..stamps import (
    NO_STAMP,
    STAMP_BYTES,
    await_tick_after,
    lasting_stamp,
    moment,
    stamp,
    stamp_at,
    stamp_of_renamed,
)
from .payloads import RunTexts

_NOT_SURE = (Side.NOT_ATTEMPTED, Side.PERSISTED)


@dataclass
class _Task:
    """A task's rows of the group, and how far they are. The pending ones are the ``Runs`` of its commit."""

    task_id: str
    rows: range
    texts: RunTexts
    pending: Sequence[int]
    known: bytes
    """The snapshot's stamp, if it is known to hold the rows that are not pending."""
    superseding: bool
    """A run is there more than once: recording the rows again need not give the same order."""
    staged: StagedSnapshot | None = None
    begun: list[int] = field(default_factory=list)
    """The moments before it was read, and before it was published."""
    seconds: float = 0.0
    locked: TaskStateLockError | None = None
    """Why it could not be published yet."""
    run_ids: Sequence[str] = ()
    timestamps: Sequence[str] = ()

    def text(self, number: int) -> bytes:
        return self.texts.text(self.pending[number])


class SnapshotSide:
    """The snapshots of a group of rows: one commit for each task among them."""

    phase = SNAPSHOT

    def __init__(
        self,
        rows: range,
        refs: ShardRows,
        texts: RunTexts,
        options: PersistOptions,
        outcome: ShardOutcome,
    ) -> None:
        self._refs = refs
        self._texts = texts
        self._options = options
        self._layout = options.layout
        self._outcome = outcome
        self._commits: dict[str, Commit] = {}
        self._staged = 0
        self._tasks = [self._look_at(*task) for task in refs.tasks(rows)]

    def _look_at(self, task_id: str, rows: range) -> _Task:
        """A row stands where the snapshot is the very one that it is known to stand in.

        Recording it once more changes nothing then, before, between or after the others:
        unless it is among them itself, and not as it stands.
        """
        superseding = self._refs.has_superseded(rows)
        known = self._refs.snapshot_stamps(rows)
        found = NO_STAMP if superseding or not any(known) else stamp_at(self._layout.snapshot(task_id))
        pending: Sequence[int] = range(0)
        if found == NO_STAMP:
            pending = rows
        elif known != found * len(rows):
            stamps = zip(rows, range(0, len(known), STAMP_BYTES), strict=True)
            pending = array("q", (row for row, at in stamps if known[at : at + STAMP_BYTES] != found))
        known_stamp = found if len(pending) < len(rows) else NO_STAMP
        return _Task(task_id, rows, self._texts, pending, known_stamp, superseding)

    @property
    def pending(self) -> Sequence[int]:
        return [row for task in self._tasks for row in task.pending]

    @property
    def files(self) -> int:
        return sum(bool(task.pending) for task in self._tasks)

    def stage(self, sync: SyncGroup) -> None:
        for task in self._tasks:
            begun = perf_counter()
            if task.pending:
                task.begun.append(moment())
                task.run_ids, task.timestamps = self._refs.recorded(task.pending)
                try:
                    task.staged = StagedSnapshot(self._options, task.task_id, task, sync)
                except (ItemError, OSError) as error:
                    self._fail(task, error)
            task.seconds += perf_counter() - begun
        self._staged = moment()

    def publish(self, sync: SyncGroup) -> None:
        """Each round tries for every lock once: no task waits for the lock of another one."""
        if self._outcome.manifest_stamps and self.files:
            await_tick_after(self._staged)  # a file written in the tick of its rename gets no stamp
        waiting = self._tasks
        for delay in (0.0, *self._options.lock_policy.delays()):
            if waiting and delay:  # sleeping for no time at all still gives the processor away
                with in_phase(LOCK_WAIT):
                    time.sleep(delay)
            waiting = [task for task in waiting if not self._publish(task)]
        for task in waiting:
            if task.staged is not None and task.locked is not None:
                task.staged.discard()
                self._fail(task, task.locked)
        for task in self._tasks:
            if task.staged is not None and not task.staged.size:
                sync.standing(self._layout.snapshot(task.task_id), self._layout.out_dir)

    def _publish(self, task: _Task) -> bool:
        """False where it is to be tried again, as the task is locked."""
        begun = perf_counter()
        if task.staged is not None:
            task.begun[1:] = [moment()]
            try:
                task.staged.publish(replace(self._options.lock_policy, attempts=1))
            except TaskStateLockError as error:
                task.locked = error
                return False
            except (ItemError, OSError) as error:
                self._fail(task, error)
            task.staged.discard()
        task.seconds += perf_counter() - begun
        if task.task_id not in self._commits:
            self._settle(task)
        return True

    def abandon(self, error: Exception) -> None:
        for task in self._tasks:
            unsure: tuple[Side, ...] = _NOT_SURE
            if task.staged is not None:
                unsure = (*_NOT_SURE, Side.UNCHANGED)  # in a file that was to be synced as well
                task.staged.discard()
                task.staged = None
            pending = [row for row in task.rows if self._outcome.snapshot[row] in unsure]
            if pending:
                self._fail(task, error, pending)

    def close(self) -> None:
        for task in self._tasks:
            commit = self._commits[task.task_id]
            if self._outcome.manifest_stamps and commit.side in (Side.PERSISTED, Side.UNCHANGED):
                commit = commit._replace(stamp=self._stamp(task))
            self._outcome.commits.append(commit)

    def _stamp(self, task: _Task) -> bytes:
        """The snapshot's, where it is sure to hold all of the task's rows and to be regular."""
        staged = task.staged
        if staged is None:
            return task.known
        if task.superseding or not staged.is_regular():
            return NO_STAMP
        if task.known != NO_STAMP and (staged.base is None or stamp(staged.base) != task.known):
            return NO_STAMP  # changed since the look: what stood then may not stand in what was merged with
        before_stage, before_publish = task.begun
        if staged.published is not None:
            return stamp_of_renamed(self._layout.snapshot(task.task_id), staged.published, before_publish)
        return lasting_stamp(staged.base, before_stage) if staged.base is not None else NO_STAMP

    def _settle(self, task: _Task) -> None:
        staged, rows = task.staged, slice(task.rows.start, task.rows.stop)
        self._outcome.snapshot[rows] = array("b", [Side.UNCHANGED]) * len(task.rows)
        self._outcome.snapshot_seconds[rows] = array("d", [task.seconds]) * len(task.rows)
        if staged is not None:
            for row, side in zip(task.pending, staged.sides, strict=True):
                self._outcome.snapshot[row] = side
            for number, error in staged.failures.items():
                self._outcome.snapshot_failures[task.pending[number]] = failure_of(error)
        size = staged.size if staged is not None else 0
        self._commit(task, Side.PERSISTED if size else Side.UNCHANGED, size)

    def _fail(self, task: _Task, error: Exception, rows: Sequence[int] | None = None) -> None:
        """A task has one snapshot: where its commit fails, it fails for all of its rows."""
        side = Side.LOCKED if isinstance(error, TaskStateLockError) else Side.FAILED
        failure = failure_of(error)
        for row in task.rows if rows is None else rows:
            self._outcome.snapshot[row] = side
            self._outcome.snapshot_seconds[row] = task.seconds
            self._outcome.snapshot_failures[row] = failure
        self._commit(task, side, 0)

    def _commit(self, task: _Task, side: Side, size: int) -> None:
        self._commits[task.task_id] = Commit(task.task_id, len(task.rows), side, task.seconds, size)
