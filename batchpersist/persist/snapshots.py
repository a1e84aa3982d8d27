"""The snapshots of a group of pairs: which runs the cache knows to be unchanged, and one commit a task.

Whether a run is unchanged by its text is decided as the new snapshot is written (``snapshots.writer``)."""

from __future__ import annotations

import logging
import os
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from ..errors import ItemError, TaskStateLockError, failure_of
from ..models import Commit, ShardOutcome, Side
from ..options import PersistOptions
from ..plan import ShardRows
from ..profiling import LOCK_WAIT, SNAPSHOT, in_phase
from ..snapshots import StagedSnapshot
from ..storage.fingerprint import FINGERPRINT_BYTES, NO_FINGERPRINT, file_clock, packed_at, what_changed
from ..storage.fsync import SyncGroup
from .payloads import ShardTexts

_log = logging.getLogger(__name__)

_UNSYNCED = (Side.NOT_ATTEMPTED, Side.PERSISTED)


@dataclass
class _Task:
    """A task's rows of the group, and their progress. The pending ones are the ``Runs`` of its commit."""

    task_id: str
    rows: range
    texts: ShardTexts
    pending: Sequence[int]
    known: bytes
    """The packed fingerprint of the snapshot that is known to hold the rows that are not pending."""
    superseding: bool
    """A run comes more than once: recording the rows again need not give the same order."""
    staged: StagedSnapshot | None = None
    clock: int = 0
    """``file_clock()`` before the snapshot was read."""
    seconds: float = 0.0
    locked: TaskStateLockError | None = None
    """Why the snapshot could not be published yet."""
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
        texts: ShardTexts,
        options: PersistOptions,
        outcome: ShardOutcome,
    ) -> None:
        self._refs = refs
        self._texts = texts
        self._options = options
        self._layout = options.layout
        self._outcome = outcome
        self._commits: dict[str, Commit] = {}
        self._tasks = [self._make_task(*task) for task in refs.tasks(rows)]

    def _make_task(self, task_id: str, rows: range) -> _Task:
        """A row is pending unless the snapshot is the very file that the cache knows to hold its entry.

        Recording such a row again changes nothing, before, between or after the others, unless its run is
        among these itself, with another text (``superseding``).
        """
        superseding = self._refs.has_superseded(rows)
        known, size = self._refs.snapshot_fingerprints(rows), FINGERPRINT_BYTES
        path = self._layout.snapshot(task_id)
        found = NO_FINGERPRINT if superseding or not any(known) else packed_at(path)
        pending: Sequence[int] = range(0)
        if found == NO_FINGERPRINT:
            pending = rows
        elif known != found * len(rows):
            places = zip(rows, range(0, len(known), size), strict=True)
            pending = array("q", (row for row, at in places if known[at : at + size] != found))
        if pending and _log.isEnabledFor(logging.DEBUG):
            _log_changes(path, known, found)
        known = found if len(pending) < len(rows) else NO_FINGERPRINT
        return _Task(task_id, rows, self._texts, pending, known, superseding)

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
                task.clock = file_clock()
                task.run_ids, task.timestamps = self._refs.ids_and_times(task.pending)
                try:
                    task.staged = StagedSnapshot(self._options, task.task_id, task, sync)
                except (ItemError, OSError) as error:
                    self._fail(task, error)
            task.seconds += perf_counter() - begun

    def publish(self, sync: SyncGroup) -> None:
        """Try for all locks once a round, so that no task waits for the lock of another one."""
        waiting = self._tasks
        for delay in (0.0, *self._options.lock_policy.delays()):
            if waiting and delay:  # sleep(0) would still yield the processor
                _log.debug("%d tasks are locked: the next attempt is in %.2f s", len(waiting), delay)
                with in_phase(LOCK_WAIT):
                    time.sleep(delay)
            waiting = [task for task in waiting if not self._publish(task)]
        for task in waiting:
            if task.staged is not None and task.locked is not None:
                task.staged.discard()
                self._fail(task, task.locked)
        for task in self._tasks:
            if task.staged is not None and not task.staged.size:
                sync.add_existing(self._layout.snapshot(task.task_id), self._layout.out_dir)

    def _publish(self, task: _Task) -> bool:
        """False where the task is locked: to be tried again."""
        begun = perf_counter()
        if task.staged is not None:
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
            self._note_success(task)
        return True

    def abandon(self, error: Exception) -> None:
        for task in self._tasks:
            unsynced: tuple[Side, ...] = _UNSYNCED
            if task.staged is not None:
                unsynced = (*_UNSYNCED, Side.UNCHANGED)  # the sync was for their file as well
                task.staged.discard()
                task.staged = None
            pending = [row for row in task.rows if self._outcome.snapshot[row] in unsynced]
            if pending:
                self._fail(task, error, pending)

    def close(self) -> None:
        for task in self._tasks:
            commit = self._commits[task.task_id]
            if self._outcome.manifest_fingerprints and commit.side in (Side.PERSISTED, Side.UNCHANGED):
                commit = commit._replace(fingerprint=self._fingerprint(task))
            self._outcome.commits.append(commit)

    def _fingerprint(self, task: _Task) -> bytes:
        """The snapshot's fingerprint, where it certainly holds all of the task's rows and is regular."""
        staged = task.staged
        if staged is None:
            return task.known
        if task.superseding or not staged.is_regular():
            return NO_FINGERPRINT
        base = staged.base
        if task.known != NO_FINGERPRINT and (base is None or base.packed() != task.known):
            return NO_FINGERPRINT  # it has changed: the history that was merged may lack the known entries
        if staged.published is None:
            return base.packed_for_cache(task.clock) if base else NO_FINGERPRINT
        found = staged.published.fingerprint()
        return found.packed() if found else NO_FINGERPRINT

    def _note_success(self, task: _Task) -> None:
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
        """A task has one snapshot: a commit that fails, fails for all of the task's rows."""
        side = Side.LOCKED if isinstance(error, TaskStateLockError) else Side.FAILED
        failure = failure_of(error)
        for row in task.rows if rows is None else rows:
            self._outcome.snapshot[row] = side
            self._outcome.snapshot_seconds[row] = task.seconds
            self._outcome.snapshot_failures[row] = failure
        self._commit(task, side, 0)

    def _commit(self, task: _Task, side: Side, size: int) -> None:
        self._commits[task.task_id] = Commit(task.task_id, len(task.rows), side, task.seconds, size)


def _log_changes(path: str, known: bytes, found: bytes) -> None:
    """Log why entries of an existing snapshot are not taken from the cache: each reason once."""
    if not os.path.lexists(path):
        return  # a first batch: there is nothing to say
    each = {known[at : at + FINGERPRINT_BYTES] for at in range(0, len(known), FINGERPRINT_BYTES)} - {found}
    for reason in sorted({what_changed(one, found) for one in each or {NO_FINGERPRINT}}):
        _log.debug("%s is compared, not taken from the cache: %s", path, reason)
