"""One task's snapshot on its way: written beside the old one, then renamed over it under the lock."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from .atomic import StagedFile, make_dirs, stage
from .baseline import Baseline, version_of
from .composition import Composition, RunsLeftOutError, TextOf
from .durability import SyncGroup, open_group
from .errors import SnapshotError
from .layout import Layout
from .locks import LockPolicy, TaskLock
from .models import Durability, Keys, RunKeys, Side

SHORT_MERGE = 16 << 20
"""Up to so many bytes a snapshot is merged again under the lock: that takes well below a second."""

ATTEMPTS = 4
"""How often a commit is tried while others keep changing the snapshot; the last merge holds them off."""


@dataclass(frozen=True)
class CommitOptions:
    """How a store's snapshots are written."""

    layout: Layout
    keys: Keys
    lock: LockPolicy
    durability: Durability
    force: bool
    """Write even what stands already."""


class StagedSnapshot:
    """A task's new snapshot as a complete temporary file, and how each of its runs fared.

    ``publish`` it after ``group.sync_data()``, or ``discard`` it. Until then it holds a descriptor
    of the old snapshot, unless nothing need be written.
    """

    def __init__(
        self, options: CommitOptions, task_id: str, runs: Sequence[RunKeys], text_of: TextOf, group: SyncGroup
    ) -> None:
        self._options = options
        self._task_id = task_id
        self._runs = runs
        self._text_of = text_of
        self._target = options.layout.snapshot(task_id)
        self.sides: list[Side] = []
        """Of each run: UNCHANGED, PERSISTED (once published), or FAILED, where it stands in ``failures``."""
        self.failures: dict[int, Exception] = {}
        """By the run's number: why its text could not be had. The others are not affected."""
        self.size = 0
        """Bytes of the new file; 0 where the old one is to stay."""
        self._baseline = Baseline()
        self._file: StagedFile | None = None
        self._stage(group)

    def publish(self) -> None:
        """Make it the task's snapshot, and nobody's update is lost.

        Takes the task's lock for a look and a rename. Where others have changed the snapshot since
        it was staged, it is merged with theirs first: under the lock if it is small, otherwise
        without, and then the lock is taken again. ``sides``, ``failures`` and ``size`` tell the
        final outcome. No lock is taken where nothing need be written.

        Raises TaskStateLockError, SnapshotError (also where a program that does not take the
        lock keeps changing the snapshot) and OSError; nothing is left beside the snapshot then.
        """
        try:
            if self._file is not None:
                with open_group(self._options.durability, [self._options.layout.out_dir], files=1) as group:
                    self._publish(group)
                    group.sync_names()
        finally:
            self.discard()

    def discard(self) -> None:
        """Let go of it; never raises, does nothing after ``publish``."""
        self._baseline.close()
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _stage(self, group: SyncGroup) -> None:
        self._group = group
        try:
            history = self._baseline.load(self._options.layout, self._task_id, self._options.keys)
            composition = Composition(history, self._runs, self._text_of, self.failures)
            self._file = self._write(composition)
        except BaseException:
            self.discard()
            raise
        self.sides = composition.sides
        self.size = self._file.size if self._file else 0
        if self._file is None:
            self._baseline.close()

    def _write(self, composition: Composition) -> StagedFile | None:
        # What stands in a legacy state only has not been written as a snapshot yet.
        compare = self._baseline.mode is not None and not self._options.force
        while composition.compose(compare=compare):
            make_dirs(self._options.layout.task_dir(self._task_id), self._group)
            with contextlib.suppress(RunsLeftOutError):
                return stage(self._target, composition.chunks(), self._group, mode=self._baseline.mode)
        return None

    def _stage_again(self, group: SyncGroup) -> None:
        self.discard()
        self._baseline = Baseline()
        self._stage(group)
        group.sync_data()

    def _publish(self, group: SyncGroup) -> None:
        for left in reversed(range(ATTEMPTS)):
            with TaskLock(self._options.layout, self._task_id, self._options.lock):
                if self._is_published(group, merge_now=left == 0):
                    return
            if left:
                self._stage_again(group)
        raise SnapshotError("the snapshot is changed all the time in spite of its lock", self._target)

    def _is_published(self, group: SyncGroup, *, merge_now: bool) -> bool:
        """Under the lock: rename if nothing has changed, or once it is merged with what has."""
        if not self._baseline.is_current() and (merge_now or self._is_short_merge()):
            self._stage_again(group)
        if self._file is None:
            return True
        return self._baseline.is_current() and self._rename(self._file)

    def _is_short_merge(self) -> bool:
        found = version_of(self._target)
        return max(self.size, found.size if found else 0) <= SHORT_MERGE

    def _rename(self, file: StagedFile) -> bool:
        """False where somebody who does not take the lock has renamed another over it at the same moment."""
        written = version_of(file.temporary)
        self._file = None
        file.publish(self._group)
        return version_of(self._target) == written
