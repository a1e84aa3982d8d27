"""Commits a task's snapshot: written beside the old one, renamed over it under the lock."""

from __future__ import annotations

import logging

from ..contract.snapshot_text import SnapshotTooLongError, limited
from ..errors import SnapshotError
from ..locks import TaskLock
from ..models import Durability, Side
from ..options import CommitOptions, LockPolicy
from ..storage.atomic_write import StagedFile, make_dirs, stage
from ..storage.fingerprint import Fingerprint, await_tick
from ..storage.fsync import SyncGroup, open_group
from . import entry_positions
from .base_file import Baseline
from .entry_positions import PositionCache
from .writer import Composition, Runs, RunsLeftOutError

_log = logging.getLogger(__name__)

SHORT_MERGE = 16 << 20
"""Up to so many bytes a snapshot is merged again under the lock: that takes well below a second."""

ATTEMPTS = 4
"""How often a commit is tried while others keep changing the snapshot; the last merge holds them off."""


class StagedSnapshot:
    """A task's new snapshot as a complete temporary file, and what became of each of its runs.

    ``publish`` it after ``group.sync_data()``; in any case, ``discard`` it at the end. Until then it
    holds a descriptor of the old snapshot, unless nothing need be written.
    """

    def __init__(self, options: CommitOptions, task_id: str, runs: Runs, group: SyncGroup) -> None:
        """Merge ``runs``, whose ids must have been checked, with the snapshot that exists, without a lock.

        Their texts are asked for only where they are needed, and possibly again, until the result is
        published. Raises SnapshotError and OSError; then nothing is left beside the snapshot.
        """
        self._options = options
        self._layout = options.layout
        self._task_id = task_id
        self._runs = runs
        self._target = self._layout.snapshot(task_id)
        self._baseline = Baseline()
        self._group = group
        self._file: StagedFile | None = None
        self.failures: dict[int, Exception] = {}
        """By the run's number: why its text could not be read. The others are not affected."""
        self.size = 0
        """Bytes of the new file; 0 where the old one is to stay."""
        self.published: StagedFile | None = None
        """The new file, once it is the task's snapshot."""
        self._write(group)

    @property
    def sides(self) -> list[Side]:
        """Of each run: UNCHANGED, PERSISTED (once published), or FAILED, where it is in ``failures``."""
        return self._composition.sides

    @property
    def base(self) -> Fingerprint | None:
        """Of the snapshot that the runs were merged or compared with, from before it was read."""
        return self._baseline.fingerprint

    def is_regular(self) -> bool:
        """Whether recording again what is in the snapshot now would leave it as it is."""
        return self._composition.is_regular()

    def publish(self, lock: LockPolicy | None = None) -> None:
        """Make it the task's snapshot; nobody's update is lost.

        Holds the task's lock for a comparison of fingerprints and a rename. Where others have changed the
        snapshot since it was staged, it is first written again, merged with theirs: under the lock if it
        is small, otherwise without, and then the lock is taken again. ``sides``, ``failures`` and ``size``
        show the final outcome. No lock is taken where nothing need be written.

        ``lock``: another policy than that of the options. Raises TaskStateLockError (it may be called
        again then), SnapshotError (also where a program that does not take the lock keeps changing the
        snapshot) and OSError.
        """
        if not self.size:
            return
        if self._file is not None and self._options.cache and self.size >= entry_positions.LONG:
            await_tick(self._file.temporary)  # or it could not be recognized by its fingerprint
        with open_group(self._options.durability, [self._layout.out_dir], files=1) as group:
            self.published = self._publish(group, lock or self._options.lock_policy)
            group.sync_names()
        if self.published is not None and self._options.cache:
            PositionCache(self._layout, self._task_id, self._options.keys).write(
                self.published,
                self._composition.written,
                self._further,
                synced=self._options.durability is not Durability.NONE,
            )

    def discard(self) -> None:
        """Remove what is not published, and close the old snapshot; never raises. Idempotent."""
        self._baseline.close()
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _write(self, group: SyncGroup) -> None:
        """Merge with what exists now, in place of an earlier attempt that others overtook."""
        self.discard()
        self._baseline, self._group, self.size = Baseline(), group, 0
        options = self._options
        try:
            history = self._baseline.load(self._layout, self._task_id, options.keys, cache=options.cache)
            self._further = history.further
            self._composition = Composition(history, self._task_id, self._runs, self.failures)
            # What is in a legacy state only has not been written as a snapshot yet.
            compare = self._baseline.mode is not None and not options.force
            while self._file is None and self._composition.compose(compare=compare):
                self._file = self._stage()
        except BaseException:
            self.discard()
            raise
        if self._file is None:
            self._baseline.close()
        else:
            self.size = self._file.size

    def _stage(self) -> StagedFile | None:
        """The composed text as a temporary file; None where it is to be composed again."""
        make_dirs(self._layout.task_dir(self._task_id), self._group, follow=False)
        try:
            try:
                return self._stage_limited(in_bytes=True)
            except SnapshotTooLongError:  # in bytes, which are quicker to count, and never fewer
                return self._stage_limited(in_bytes=False)
        except RunsLeftOutError:
            return None

    def _stage_limited(self, *, in_bytes: bool) -> StagedFile:
        limit, chunks = self._options.max_snapshot_units, self._composition.chunks()
        chunks = limited(chunks, limit, self._target, in_bytes=in_bytes)
        return stage(self._target, chunks, self._group, mode=self._baseline.mode)

    def _publish(self, group: SyncGroup, lock: LockPolicy) -> StagedFile | None:
        """The file now in place; None where nothing had to be written after all."""
        for left in reversed(range(ATTEMPTS)):
            with TaskLock(self._layout, self._task_id, lock):
                if not self._baseline.is_current() and (left == 0 or self._is_short_merge()):
                    self._write_again(group)
                if not self.size:
                    return None
                if self._baseline.is_current() and (published := self._rename()):
                    return published
            if left:
                self._write_again(group)
        raise SnapshotError("the snapshot is changed all the time in spite of its lock", self._target)

    def _write_again(self, group: SyncGroup) -> None:
        _log.debug("%s has changed since it was read, and is merged again", self._target)
        self._write(group)
        group.sync_data()

    def _is_short_merge(self) -> bool:
        found = Fingerprint.at(self._target)
        return max(self.size, found.size if found else 0) <= SHORT_MERGE

    def _rename(self) -> StagedFile | None:
        """The new file; None where somebody who does not take the lock has renamed another
        file over it at the same moment. OSError: the snapshot is as it was."""
        assert self._file is not None
        file, self._file = self._file, None
        file.publish(self._group)  # whose sync of the names is still to come, for all of its files at once
        found = Fingerprint.at(self._target)
        return file if found and found.is_renamed(Fingerprint.of(file.status)) else None
