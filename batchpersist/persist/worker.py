"""What a worker does with a shard: persists its pairs in groups, and returns the outcome as data.

The two sides of its pairs, the snapshots (``snapshotside``) and the manifests (``manifestside``), start
together and are both awaited to the end, whatever the other does (docs/formats.md, "Settling a pair").
Both are written in the same two steps, so that one sync of the file system serves a whole group: *stage*
writes every temporary file, *publish* renames them. Before that each side finds out which of its rows are
known to be unchanged, and leaves them alone; after it, it takes stamps by which the next batch will know.
What fails is data in the outcome, row by row, and stops nothing else.

A shard is settled in groups: all of it at once (the group commit), or run by run for
comparison.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
from .liveness import heartbeat
from .manifests import ManifestSide
from .pair import settle_one, settle_pair
from .payloads import PayloadReader, RunTexts
from .snapshots import SnapshotSide


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


class PairGroup:
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


def persist_shard(job: ShardJob, options: PersistOptions) -> ShardOutcome:
    """Persist a shard's runs; returns how each side of each settled.

    Nothing is raised for a run that fails: its failure stands in the outcome. MemoryError: the shard
    as a whole needs more than there is; nothing is left behind then. When it returns, what is PERSISTED
    is as durable as ``options.durability`` says. Safe to call in several processes at once for shards
    of one plan, and beside a live orchestrator.
    """
    try:
        return _settle_shard(job, options)
    finally:  # however it ends: who rests is not taken for hanging
        heartbeat(options.beats).rest()


def _settle_shard(job: ShardJob, options: PersistOptions) -> ShardOutcome:
    refs = job.refs()
    outcome = empty_outcome(job.shard)
    if options.take_fingerprints:
        outcome.manifest_fingerprints = bytearray(FINGERPRINT_BYTES * len(refs))
    started, cpu, clock = time.time(), time.process_time(), PhaseClock()
    if job.sweep or options.sweep:
        _sweep(refs, options.layout)
    pulse = heartbeat(options.beats)
    with running(clock, OTHER), PayloadReader(options.keys, options.spool, pulse.repeat) as reader:
        texts = RunTexts(reader, refs, pulse, job.shard.start)
        for work, rows in _groups(job.shard.work, len(refs), options):
            PairGroup(work, rows, refs, texts, options, outcome).settle()
    if job.sweep:  # a process that was killed a moment ago may not have been dead before
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
    """Of a shard whose runs have all yet to be attempted."""
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
