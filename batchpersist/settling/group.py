"""A group of a shard's runs: staged, synced and published together.

The two sides of its pairs, the snapshots (``snapshotside``) and the manifests (``manifestside``), start
together and are both awaited to the end, whatever the other does (docs/formats.md, "Settling a pair").
Both are written in the same two steps, so that one sync of the file system serves a whole group: *stage*
writes every temporary file, *publish* renames them. Before that each side finds out which of its rows are
known to be unchanged, and leaves them alone; after it, it takes stamps by which the next batch will know.
What fails is data in the outcome, row by row, and stops nothing else.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from operator import add
from typing import Protocol

from ..files.durability import SyncGroup, open_group
from ..models import ShardOutcome, Work
from ..options import PersistOptions
from ..phaseclock import NO_PHASE, PhaseClock, current, in_phase, running
from ..planning.job import ShardRows
from .coordinator import settle_one, settle_pair
from .manifestside import ManifestSide
from .payloads import RunTexts
from .snapshotside import SnapshotSide


class PairSide(Protocol):
    """One side of a group, made for its rows; the methods are called in this order."""

    @property
    def phase(self) -> str:
        """What its time is counted as (``phaseclock``)."""

    @property
    def pending(self) -> Sequence[int]:
        """The rows that are not known to be unchanged: those whose texts it will ask for."""

    @property
    def files(self) -> int:
        """How many it will write at most."""

    def stage(self, sync: SyncGroup) -> None:
        """Write every temporary file."""

    def publish(self, sync: SyncGroup) -> None:
        """Rename them."""

    def close(self) -> None:
        """Everything has settled."""

    def abandon(self, error: Exception) -> None:
        """Fail every row that is not unchanged: its group was not synced, or its step broke off."""


class Group:
    """Rows of a shard, and one or both sides of their pairs; ``outcome`` takes what becomes of them."""

    def __init__(
        self,
        work: Work,
        rows: range,
        refs: ShardRows,
        texts: RunTexts,
        options: PersistOptions,
        outcome: ShardOutcome,
    ) -> None:
        self._rows = rows
        self._texts = texts
        self._options = options
        self._outcome = outcome
        self._saved_seconds = 0.0
        """By the two sides' working at once."""
        self._sides: list[PairSide] = []
        if work is not Work.MANIFEST:
            self._sides.append(SnapshotSide(rows, refs, texts, options, outcome))
        if work is not Work.SNAPSHOT:
            self._sides.append(ManifestSide(rows, refs, texts, options, outcome))

    def settle(self) -> None:
        begun = time.perf_counter()
        options = self._options
        files = max(side.files for side in self._sides)
        roots = (options.out_dir, options.runs_dir)
        with self._texts.read_ahead(self._shared_rows()):
            try:
                with open_group(options.durability, roots, files=files) as sync:
                    self._step(lambda side: side.stage(sync))
                    if self._synced(sync.sync_data):
                        self._step(lambda side: side.publish(sync))
                        self._synced(sync.sync_names)
            except OSError as error:  # a root could not be opened for its sync
                self._abandon(error)
        for side in self._sides:
            with in_phase(side.phase):
                side.close()
        self._note_seconds(time.perf_counter() - begun)

    def _shared_rows(self) -> Sequence[int]:
        """The rows whose texts both sides ask for, from two threads. One side alone asks once, and the
        texts of a hot task do not fit into memory."""
        if len(self._sides) == 1:
            return ()
        return sorted(set().union(*(side.pending for side in self._sides)))

    def _step(self, step: Callable[[PairSide], None]) -> None:
        """One step of every side, all at once; a side that breaks off fails what it had left."""
        begun = time.perf_counter()
        self._texts.beat(self._rows.start)
        clocks = [PhaseClock() for _ in self._sides]
        steps = [partial(_clocked, *each, step) for each in zip(clocks, self._sides, strict=True)]
        concurrent = len(steps) == 2 and all(side.files for side in self._sides)
        with in_phase(NO_PHASE):
            settled = settle_pair(*steps) if concurrent else tuple(map(settle_one, steps))
        for clock, side, result in zip(clocks, self._sides, settled, strict=True):
            current().add(clock)
            if result.error is not None:
                side.abandon(result.error)
        if any(isinstance(result.error, MemoryError) for result in settled):
            # Whose fault it is shows when fewer runs are tried at once (``scheduling.supervisor``).
            self._abandon(MemoryError())
            raise MemoryError
        in_turn = sum(result.seconds for result in settled)
        self._saved_seconds += max(0.0, in_turn - (time.perf_counter() - begun))

    def _abandon(self, error: Exception) -> None:
        for side in self._sides:
            side.abandon(error)

    def _synced(self, barrier: Callable[[], None]) -> bool:
        """A sync that failed says nothing about what reached the disk: the group has failed."""
        try:
            barrier()
        except OSError as error:
            self._abandon(error)
            self._outcome.sync_failed = True
            return False
        return True

    def _note_seconds(self, seconds: float) -> None:
        self._outcome.pair_wall += seconds
        self._outcome.sum_if_sequential += seconds + self._saved_seconds
        both = add if self._options.pair == "sequential" else max
        outcome, rows = self._outcome, slice(self._rows.start, self._rows.stop)
        pairs = map(both, outcome.snapshot_seconds[rows], outcome.manifest_seconds[rows])
        outcome.pair_seconds[rows] = array("d", pairs)


def _clocked(clock: PhaseClock, side: PairSide, step: Callable[[PairSide], None]) -> None:
    with running(clock, side.phase):
        step(side)
