"""What a worker does with a shard: persists its pairs in groups, and returns the outcome as data.

The two sides of a group, its snapshots and its manifests, start together and both settle (docs/formats.md,
"Settling a pair"). Each writes in the same two steps, so that one sync of the file system serves the whole
group: *stage* writes all temporary files, *publish* renames them. A side first finds out which of its rows
are known to be unchanged, and leaves them alone; at the end it takes the fingerprints by which the next batch
will know. What fails is data in the outcome, row by row, and stops nothing else.

A group is the whole shard (the group commit) or, for comparison, one run.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Protocol

from ..models import Shard, ShardOutcome, Side, Work
from ..options import PersistOptions
from ..paths import Layout
from ..plan import ShardJob, ShardRows
from ..profiling import NO_PHASE, OTHER, PhaseClock, current, in_phase, running
from ..records.journal import shard_entry
from ..storage.fingerprint import FINGERPRINT_BYTES
from ..storage.fsync import SyncGroup, open_group
from ..storage.temp_files import sweep
from .liveness import open_heartbeat
from .manifests import ManifestSide
from .pair import settle_one, settle_pair
from .payloads import PayloadReader, ShardTexts
from .snapshots import SnapshotSide


class PairSide(Protocol):
    """One side of a group, made for its rows; the methods are called in this order."""

    @property
    def phase(self) -> str:
        """What its time is counted as (``profiling``)."""

    @property
    def pending(self) -> Sequence[int]:
        """The rows that are not known to be unchanged: those whose texts it will ask for."""

    @property
    def files(self) -> int:
        """How many it will write at most."""

    def stage(self, sync: SyncGroup) -> None:
        """Write all temporary files."""

    def publish(self, sync: SyncGroup) -> None:
        """Rename them."""

    def close(self) -> None:
        """Complete the outcome: both sides have settled."""

    def abandon(self, error: Exception) -> None:
        """Fail every row that is not unchanged: its group was not synced, or its step broke off."""


@dataclass
class _Step:
    """A step of one side, on a clock of its own, as ``settle_pair`` calls it."""

    side: PairSide
    sync: SyncGroup
    publishes: bool
    clock: PhaseClock = field(default_factory=PhaseClock)

    def __call__(self) -> None:
        with running(self.clock, self.side.phase):
            if self.publishes:
                self.side.publish(self.sync)
            else:
                self.side.stage(self.sync)


class PairGroup:
    """Rows of a shard, and one or both sides of their pairs; ``outcome`` takes what becomes of them."""

    def __init__(
        self,
        work: Work,
        rows: range,
        refs: ShardRows,
        texts: ShardTexts,
        options: PersistOptions,
        outcome: ShardOutcome,
    ) -> None:
        self._rows = rows
        self._texts = texts
        self._options = options
        self._outcome = outcome
        self._saved_seconds = 0.0
        """What the two sides save by working at the same time."""
        self._sides: list[PairSide] = []
        if work is not Work.MANIFEST:
            self._sides.append(SnapshotSide(rows, refs, texts, options, outcome))
        if work is not Work.SNAPSHOT:
            self._sides.append(ManifestSide(rows, refs, texts, options, outcome))

    def settle(self) -> None:
        """Write both sides, as durably as the options say. Raises MemoryError only."""
        begun = time.perf_counter()
        with self._texts.read_ahead(self._shared_rows()):
            self._write()
        for side in self._sides:
            with in_phase(side.phase):
                side.close()
        self._note_seconds(time.perf_counter() - begun)

    def _shared_rows(self) -> Sequence[int]:
        """The rows whose texts both sides ask for, from two threads. One side alone asks for each text once,
        and the texts of a hot task do not fit into memory."""
        if len(self._sides) == 1:
            return ()
        return sorted(set().union(*(side.pending for side in self._sides)))

    def _write(self) -> None:
        roots, files = (
            (self._options.out_dir, self._options.runs_dir),
            max(side.files for side in self._sides),
        )
        is_open = False
        try:
            with open_group(self._options.durability, roots, files=files) as sync:
                is_open = True
                self._run_step(sync, publishes=False)
                sync.sync_data()
                self._run_step(sync, publishes=True)
                sync.sync_names()
        except OSError as error:  # a root cannot be opened for its sync, or a sync has failed
            # Nobody knows what a failed sync left on the disk: the whole group has failed.
            self._outcome.sync_failed |= is_open
            self._abandon(error)

    def _run_step(self, sync: SyncGroup, *, publishes: bool) -> None:
        """Run one step of all sides at the same time; a side that breaks off fails its remaining rows."""
        begun = time.perf_counter()
        self._texts.beat(self._rows.start)
        steps = [_Step(side, sync, publishes) for side in self._sides]
        concurrent = len(steps) == 2 and all(side.files for side in self._sides)
        with in_phase(NO_PHASE):
            settled = settle_pair(*steps) if concurrent else tuple(map(settle_one, steps))
        for step, result in zip(steps, settled, strict=True):
            current().add(step.clock)
            if result.error is not None:
                step.side.abandon(result.error)
        if any(isinstance(result.error, MemoryError) for result in settled):
            # The supervisor tries fewer runs at once, and so finds the one that needs too much.
            self._abandon(MemoryError())
            raise MemoryError
        in_turn = sum(result.seconds for result in settled)
        self._saved_seconds += max(0.0, in_turn - (time.perf_counter() - begun))

    def _abandon(self, error: Exception) -> None:
        for side in self._sides:
            side.abandon(error)

    def _note_seconds(self, seconds: float) -> None:
        self._outcome.pair_wall += seconds
        self._outcome.sum_if_sequential += seconds + self._saved_seconds
        of_pair = add if self._options.pair == "sequential" else max
        outcome, rows = self._outcome, slice(self._rows.start, self._rows.stop)
        pairs = map(of_pair, outcome.snapshot_seconds[rows], outcome.manifest_seconds[rows])
        outcome.pair_seconds[rows] = array("d", pairs)


def persist_shard(job: ShardJob, options: PersistOptions) -> ShardOutcome:
    """Persist a shard's runs; returns how each side of each run ended.

    A run that fails raises nothing: its failure is in the outcome. Raises MemoryError where the shard as a
    whole needs more than there is; it leaves no temporary files then. On return, what is PERSISTED is as
    durable as ``options.durability`` says. Several processes may persist shards of one plan at the same time,
    also beside a live orchestrator.
    """
    try:
        return _persist_groups(job, options)
    finally:  # however it ends: an idle worker does not hang
        open_heartbeat(options.beats).rest()


def _persist_groups(job: ShardJob, options: PersistOptions) -> ShardOutcome:
    refs = job.rows()
    outcome = empty_outcome(job.shard)
    if options.take_fingerprints:
        outcome.manifest_fingerprints = bytearray(FINGERPRINT_BYTES * len(refs))
    started, cpu, clock = time.time(), time.process_time(), PhaseClock()
    if job.sweep or options.sweep:
        _sweep(refs, options.layout)
    heartbeat = open_heartbeat(options.beats)
    with running(clock, OTHER), PayloadReader(options.keys, options.spool, heartbeat) as reader:
        texts = ShardTexts(reader, refs, heartbeat, job.shard.start)
        for work, rows in _groups(job.shard.work, len(refs), options):
            PairGroup(work, rows, refs, texts, options, outcome).settle()
    if job.sweep:  # again: a process that was killed a moment ago may still have been writing before
        _sweep(refs, options.layout)
    outcome.started, outcome.finished = started, time.time()
    outcome.cpu_seconds = time.process_time() - cpu
    outcome.phases, outcome.syncs = clock.seconds(), clock.syncs
    outcome.pid = os.getpid()
    outcome.journal_entry = shard_entry(outcome, refs)
    if job.shard.work is Work.SNAPSHOT:
        outcome.manifest_fingerprints.clear()  # those of the manifest shards count
    return outcome


def _sweep(refs: ShardRows, layout: Layout) -> None:
    for task, rows in refs.tasks(range(len(refs))):
        sweep(layout.task_dir(task))
        for row in rows:
            sweep(layout.run_dir(task, refs.run_ids[row]))


def empty_outcome(shard: Shard) -> ShardOutcome:
    """The outcome of a shard none of whose runs has been attempted yet."""
    runs = shard.stop - shard.start
    return ShardOutcome(
        shard=shard,
        snapshot=array("b", bytes([Side.NOT_ATTEMPTED]) * runs),
        manifest=array("b", bytes([Side.NOT_ATTEMPTED]) * runs),
        snapshot_seconds=array("d", [0.0]) * runs,
        manifest_seconds=array("d", [0.0]) * runs,
        pair_seconds=array("d", [0.0]) * runs,
        manifest_bytes=array("q", [0]) * runs,
    )


def _groups(work: Work, runs: int, options: PersistOptions) -> Iterator[tuple[Work, range]]:
    size = 1 if options.commit == "run" else max(runs, 1)
    for start in range(0, runs, size):
        rows = range(start, min(start + size, runs))
        if work is Work.PAIR and options.pair == "sequential":
            yield Work.SNAPSHOT, rows
            yield Work.MANIFEST, rows
        else:
            yield work, rows
