"""What a worker does: settle one shard, and bring the outcome home as plain data.

A shard is settled in groups: all of it at once (the group commit), or run by run for
comparison. Within a group the snapshots and the manifests start together and are both
awaited to the end, whatever the other does (docs/formats.md, "Settling a pair").
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from ..files.durability import open_group
from ..files.temporaries import sweep
from ..layout import Layout
from ..locking.locks import LockPolicy
from ..memory import UNBOUNDED, MemoryBound
from ..models import DEFAULT_KEYS, Durability, Keys, Shard, ShardOutcome, Side, Work
from ..phaseclock import NO_PHASE, OTHER, PhaseClock, current, in_phase, running
from ..planning.job import ShardJob, ShardRows
from ..snapshots.snapshot import TaskStateStore
from ..stamps import STAMP_BYTES
from .coordinator import settle_one, settle_pair
from .heartbeat import heartbeat
from .manifest import RunManifestWriter
from .manifestside import ManifestSide
from .payloads import PayloadReader
from .runtexts import RunTexts
from .shardentry import shard_entry
from .sides import PairSide, TextOf
from .snapshotside import SnapshotSide


@dataclass(frozen=True)
class SettleOptions:
    """How pairs are written. Picklable: every job carries it to its worker."""

    out_dir: str
    runs_dir: str
    keys: Keys = DEFAULT_KEYS
    durability: Durability = Durability.BATCH
    commit: Literal["task", "run"] = "task"
    """One commit for all of a task's runs in a shard, or one for each run."""
    pair: Literal["concurrent", "sequential"] = "concurrent"
    """Both writes at once, or the snapshot first and then the manifest (the rollback)."""
    lock: LockPolicy = field(default_factory=LockPolicy)
    force: bool = False
    """Write even what stands already."""
    cache: bool = True
    """What was found out about long snapshots may stand for reading them."""
    sweep: bool = False
    """An earlier batch died, and may have left temporary files where this one is to write."""
    beats: str | None = None
    """The folder for signs of life (``heartbeat``); None: nobody watches."""
    memory: MemoryBound = UNBOUNDED
    """Of a worker."""
    take_stamps: bool = False
    """Tell in which state of its files each run stands, for the next batch's sake."""


def settle_shard(job: ShardJob, options: SettleOptions) -> ShardOutcome:
    """Persist a shard's runs; returns how each side of each settled.

    Nothing is raised for a run that fails: its failure stands in the outcome. MemoryError: the shard
    as a whole needs more than there is; nothing is left behind then. When it returns, what is PERSISTED
    is as durable as ``options.durability`` says. Safe to call in several processes at once for shards
    of one plan, and beside a live orchestrator.
    """
    try:
        return _settle_shard(job, options)
    finally:  # however it ends: who rests is not taken for hanging
        if options.beats is not None:
            heartbeat(options.beats).rest()


def _settle_shard(job: ShardJob, options: SettleOptions) -> ShardOutcome:
    refs = job.refs()
    outcome = blank_outcome(job.shard)
    if options.take_stamps:
        outcome.manifest_stamps = bytearray(STAMP_BYTES * len(refs))
    started, cpu, clock = time.time(), time.process_time(), PhaseClock()
    if job.sweep or options.sweep:
        _sweep(refs, Layout(options.out_dir, options.runs_dir))
    with running(clock, OTHER), PayloadReader(options.keys) as reader:
        texts = RunTexts(reader, refs, partial(_beat, options.beats, job.shard.start))
        refs = texts.without_outdated_stamps()
        for work, rows in _groups(job.shard.work, len(refs), options):
            _Group(work, rows, refs, texts, options, outcome).settle()
    outcome.started, outcome.finished = started, time.time()
    outcome.cpu_seconds = time.process_time() - cpu
    outcome.phases, outcome.syncs = clock.seconds(), clock.syncs
    outcome.pid = os.getpid()
    outcome.journal_entry = shard_entry(outcome, refs, texts.digests)
    return outcome


def _beat(folder: str | None, start: int, row: int) -> None:
    if folder is not None:
        heartbeat(folder).beat(start + row)


def _sweep(refs: ShardRows, layout: Layout) -> None:
    for task, rows in refs.tasks(range(len(refs))):
        sweep(layout.task_dir(task))
        for row in rows:
            sweep(layout.run_dir(task, refs.run_ids[row]))


def blank_outcome(shard: Shard) -> ShardOutcome:
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


def _groups(work: Work, runs: int, options: SettleOptions) -> Iterator[tuple[Work, range]]:
    size = 1 if options.commit == "run" else max(runs, 1)
    for start in range(0, runs, size):
        rows = range(start, min(start + size, runs))
        if work is Work.PAIR and options.pair == "sequential":
            yield Work.SNAPSHOT, rows
            yield Work.MANIFEST, rows
        else:
            yield work, rows


class _Group:
    """Rows that are staged, synced and published together."""

    def __init__(
        self,
        work: Work,
        rows: range,
        refs: ShardRows,
        texts: RunTexts,
        options: SettleOptions,
        outcome: ShardOutcome,
    ) -> None:
        self._rows = rows
        self._texts = texts
        self._options = options
        self._outcome = outcome
        self._saved_seconds = 0.0
        """By the two sides' working at once."""
        self._sides: list[PairSide] = []
        layout = Layout(options.out_dir, options.runs_dir)
        if work is not Work.MANIFEST:
            store = TaskStateStore(
                options.out_dir,
                options.runs_dir,
                keys=options.keys,
                lock=options.lock,
                durability=options.durability,
                force=options.force,
                cache=options.cache,
                memory=options.memory,
            )
            self._sides.append(SnapshotSide(rows, refs, store, layout, options.lock, outcome))
        if work is not Work.SNAPSHOT:
            writer = RunManifestWriter(options.runs_dir, keys=options.keys, force=options.force)
            self._sides.append(ManifestSide(rows, refs, writer, layout, outcome))

    def settle(self) -> None:
        begun = time.perf_counter()
        options = self._options
        files = max(side.files for side in self._sides)
        text_of = self._text_of()
        roots = (options.out_dir, options.runs_dir)
        try:
            with open_group(options.durability, roots, files=files) as sync:
                self._step(lambda side: side.stage(sync, text_of))
                if self._synced(sync.sync_data):
                    self._step(lambda side: side.publish(sync))
                    self._synced(sync.sync_names)
        except OSError as error:  # a root could not be opened for its sync
            self._abandon(error)
        for side in self._sides:
            with in_phase(side.phase):
                side.close()
        self._note_seconds(time.perf_counter() - begun)

    def _text_of(self) -> TextOf:
        """One side asks once, and a hot task does not fit into memory; both ask from two threads."""
        if len(self._sides) == 1:
            return self._texts.text
        return self._texts.read_ahead(sorted(set().union(*(side.pending for side in self._sides))))

    def _step(self, step: Callable[[PairSide], None]) -> None:
        """One step of every side, all at once; a side that breaks off fails what it had left."""
        begun = time.perf_counter()
        self._texts.alive(self._rows.start)
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
            # Whose fault it is shows when fewer runs are tried at once (``scheduling.dispatch``).
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
        both = sum if self._options.pair == "sequential" else max
        for row in self._rows:
            sides = (self._outcome.snapshot_seconds[row], self._outcome.manifest_seconds[row])
            self._outcome.pair_seconds[row] = both(sides)


def _clocked(clock: PhaseClock, side: PairSide, step: Callable[[PairSide], None]) -> None:
    with running(clock, side.phase):
        step(side)
