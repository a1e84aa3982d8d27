"""One task's snapshot on its way: written beside the old one, then renamed over it under the lock."""

from __future__ import annotations

import contextlib

from ..errors import SnapshotError
from ..files.durability import SyncGroup, open_group
from ..files.versions import Version, version_of
from ..locking.locks import TaskLock
from ..models import Side
from ..options import LockPolicy
from .composition import TextOf
from .draft import CommitOptions, Draft, Recording
from .merge import RunIdsAndTimes

__all__ = ["ATTEMPTS", "SHORT_MERGE", "CommitOptions", "StagedSnapshot"]

SHORT_MERGE = 16 << 20
"""Up to so many bytes a snapshot is merged again under the lock: that takes well below a second."""

ATTEMPTS = 4
"""How often a commit is tried while others keep changing the snapshot; the last merge holds them off."""


class StagedSnapshot:
    """A task's new snapshot as a complete temporary file, and how each of its runs fared.

    ``publish`` it after ``group.sync_data()``, or ``discard`` it. Until then it holds a descriptor
    of the old snapshot, unless nothing need be written.
    """

    def __init__(
        self, options: CommitOptions, task_id: str, runs: RunIdsAndTimes, text_of: TextOf, group: SyncGroup
    ) -> None:
        self._options = options
        self.failures: dict[int, Exception] = {}
        """By the run's number: why its text could not be had. The others are not affected."""
        self._recording = Recording(options, task_id, runs, text_of, self.failures)
        self._draft = Draft(self._recording, group)
        self.published: Version | None = None
        """Of the new file, once it is the task's snapshot."""

    @property
    def sides(self) -> list[Side]:
        """Of each run: UNCHANGED, PERSISTED (once published), or FAILED, where it stands in ``failures``."""
        return self._draft.sides

    @property
    def size(self) -> int:
        """Bytes of the new file; 0 where the old one is to stay."""
        return self._draft.size

    @property
    def base(self) -> Version | None:
        """Of the snapshot that the runs were merged or compared with, from before it was read."""
        return self._draft.base

    def is_regular(self) -> bool:
        """Whether recording again what stands in the snapshot now would leave it as it is."""
        return self._draft.is_regular()

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
            self.try_publish(self._options.lock)
        finally:
            self.discard()

    def try_publish(self, lock: LockPolicy) -> None:
        """As ``publish``, but by another policy for the lock, and it is for the caller to ``discard``.

        After TaskStateLockError it may be tried again.
        """
        if self.size:
            with open_group(self._options.durability, [self._options.layout.out_dir], files=1) as group:
                self.published = self._publish(group, lock)
                group.sync_names()
            if self.published is not None:
                self._draft.note(self.published)

    def discard(self) -> None:
        """Let go of it; never raises, does nothing after ``publish``."""
        self._draft.close()

    def _publish(self, group: SyncGroup, lock: LockPolicy) -> Version | None:
        """The version of the file now in place; None where nothing had to be written after all."""
        for left in reversed(range(ATTEMPTS)):
            with (
                contextlib.ExitStack() as after_release,
                TaskLock(self._options.layout, self._recording.task_id, lock),
            ):
                if not self._draft.is_current() and (left == 0 or self._is_short_merge()):
                    after_release.callback(self._merge_again(group).close)
                if not self.size:
                    return None
                if self._draft.is_current() and (version := self._draft.publish()):
                    return version
            if left:
                self._merge_again(group).close()
        raise SnapshotError(
            "the snapshot is changed all the time in spite of its lock", self._recording.target
        )

    def _merge_again(self, group: SyncGroup) -> Draft:
        """Returns the draft that is overtaken: closing a long file that is out of its folder takes time."""
        overtaken, self._draft = self._draft, Draft(self._recording, group, self._draft)
        group.sync_data()
        return overtaken

    def _is_short_merge(self) -> bool:
        found = version_of(self._recording.target)
        return max(self.size, found.size if found else 0) <= SHORT_MERGE
