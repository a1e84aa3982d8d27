"""A task's new snapshot as a complete temporary file, merged with what stood when it was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..files.atomic import StagedFile, amend, make_dirs, stage
from ..files.durability import SyncGroup
from ..files.versions import Version, version_from, version_of
from ..layout import Layout
from ..memory import UNBOUNDED, MemoryBound
from ..models import Durability, Keys, Side
from ..options import NODE_LIMIT, LockPolicy
from . import historycache
from .baseline import Baseline
from .composition import Composition, RunsLeftOutError, TextOf
from .entries import check_entries
from .length import SnapshotTooLongError, limited, utf16_units
from .merge import RunIdsAndTimes


@dataclass(frozen=True)
class CommitOptions:
    """How a store's snapshots are written."""

    layout: Layout
    keys: Keys
    lock: LockPolicy
    durability: Durability
    force: bool
    """Write even what stands already."""
    cache: bool
    """What is known of a long snapshot is noted down, and relied upon."""
    memory: MemoryBound = UNBOUNDED
    """SnapshotError for a snapshot that does not fit."""
    max_size: int | None = NODE_LIMIT
    """UTF-16 units of a snapshot; SnapshotTooLongError for more. None: as many as it needs."""


@dataclass(frozen=True)
class Recording:
    """What is to be recorded, and what has come of it so far."""

    options: CommitOptions
    task_id: str
    runs: RunIdsAndTimes
    text_of: TextOf
    failures: dict[int, Exception]

    @property
    def target(self) -> str:
        return self.options.layout.snapshot(self.task_id)


class Draft:
    """One attempt at a recording. Holds a descriptor of the old snapshot, unless nothing need be written."""

    def __init__(self, recording: Recording, group: SyncGroup, earlier: Draft | None = None) -> None:
        """``earlier``: an attempt that others overtook; what it has in common with this one is not
        done again. SnapshotError, OSError: this one is closed."""
        self._recording = recording
        self._group = group
        self._baseline = Baseline(recording.options.memory)
        self._file: StagedFile | None = None
        self._measure: Callable[[bytes], int] = len
        """What a chunk adds to the length: its bytes, and only near the limit its UTF-16 units."""
        try:
            self._compose(earlier)
            self._write(earlier)
        except BaseException:
            self.close()
            raise
        self.size = self._file.size if self._file else 0
        """Bytes of the new file; 0 where the old one is to stay."""
        if self._file is None:
            self._baseline.close()

    @property
    def sides(self) -> list[Side]:
        """Of each run: UNCHANGED, PERSISTED (once published), or FAILED."""
        return self._composition.sides

    @property
    def base(self) -> Version | None:
        """Of the snapshot that it was merged with."""
        return self._baseline.version

    def is_regular(self) -> bool:
        """Whether recording again what stands in it would leave it as it is (``merge.is_regular``)."""
        return self._composition.is_regular()

    def is_current(self) -> bool:
        """Whether what it was merged with still stands."""
        return self._baseline.is_current()

    def publish(self) -> Version | None:
        """Rename it over the snapshot, while the task's lock is held; returns its version there.

        None where somebody who does not take the lock has renamed another over it at the
        same moment. OSError: the snapshot is as it was.
        """
        assert self._file is not None
        file, self._file = self._file, None
        file.publish(self._group)
        found = version_of(file.target)
        return found if found and found.is_renamed(version_from(file.status)) else None

    def note(self, version: Version) -> None:
        """Note down what is known of it for the next commit; after the lock's release."""
        options, task_id = self._recording.options, self._recording.task_id
        if options.cache:
            historycache.note(
                options.layout.history_cache(task_id),
                task_id,
                options.keys,
                version,
                self._composition.written,
                self._history.further,
                synced=options.durability is not Durability.NONE,
            )

    def close(self) -> None:
        """Let go of it; never raises. Idempotent."""
        self._baseline.close()
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _compose(self, earlier: Draft | None) -> None:
        recording = self._recording
        options = recording.options
        before = earlier._baseline if earlier else None
        self._history = self._baseline.load(
            options.layout, recording.task_id, options.keys, cache=options.cache, earlier=before
        )
        check_entries(len(self._history.entries) + len(recording.runs[0]), options.memory)
        self._composition = Composition(
            self._history, recording.task_id, recording.runs, recording.text_of, recording.failures
        )

    def _write(self, earlier: Draft | None) -> None:
        # What stands in a legacy state only has not been written as a snapshot yet.
        compare = self._baseline.mode is not None and not self._recording.options.force
        limit = self._recording.options.max_size
        if limit is not None and self._history.entries.end > limit:
            self._measure = utf16_units
        while self._composition.compose(compare=compare):
            try:
                self._file = self._amended(earlier) or self._staged()
                return
            except RunsLeftOutError:
                continue
            except SnapshotTooLongError:
                if self._measure is utf16_units:
                    raise
                self._measure = utf16_units

    def _staged(self) -> StagedFile:
        recording = self._recording
        make_dirs(recording.options.layout.task_dir(recording.task_id), self._group, follow=False)
        chunks = self._limited(self._composition.chunks())
        return stage(recording.target, chunks, self._group, mode=self._baseline.mode)

    def _limited(self, chunks: Iterator[bytes], before: int = 0) -> Iterator[bytes]:
        limit = self._recording.options.max_size
        return limited(chunks, limit, self._recording.target, measure=self._measure, before=before)

    def _amended(self, earlier: Draft | None) -> StagedFile | None:
        """The earlier attempt's file with another end, where that is less than a new file."""
        if earlier is None or earlier._file is None or earlier._baseline.mode != self._baseline.mode:
            return None
        if self._measure is not len:
            return None  # what is kept was not counted
        keep = self._composition.shared_with(earlier._composition)
        if not keep:
            return None
        file, earlier._file = earlier._file, None
        written = earlier._composition.written
        return amend(
            file,
            self._composition.head(),
            written.offsets[keep],
            self._limited(self._composition.chunks(earlier._composition, keep), written.offsets[keep]),
            self._group,
        )
