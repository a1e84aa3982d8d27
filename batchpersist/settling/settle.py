"""What a worker does: settle one shard, and bring the outcome home as plain data.

A shard is settled in groups: all of it at once (the group commit), or run by run for
comparison.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Iterator

from ..files.fingerprint import FINGERPRINT_BYTES
from ..files.temporaries import sweep
from ..layout import Layout
from ..models import Shard, ShardOutcome, Side, Work
from ..options import PersistOptions
from ..phaseclock import OTHER, PhaseClock, running
from ..planning.job import ShardJob, ShardRows
from .group import Group
from .journal import shard_entry
from .liveness import heartbeat
from .payloads import PayloadReader, RunTexts


def settle_shard(job: ShardJob, options: PersistOptions) -> ShardOutcome:
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
    outcome = blank_outcome(job.shard)
    if options.take_fingerprints:
        outcome.manifest_fingerprints = bytearray(FINGERPRINT_BYTES * len(refs))
    started, cpu, clock = time.time(), time.process_time(), PhaseClock()
    if job.sweep or options.sweep:
        _sweep(refs, options.layout)
    pulse = heartbeat(options.beats)
    with running(clock, OTHER), PayloadReader(options.keys, options.spool, pulse.repeat) as reader:
        texts = RunTexts(reader, refs, pulse, job.shard.start)
        for work, rows in _groups(job.shard.work, len(refs), options):
            Group(work, rows, refs, texts, options, outcome).settle()
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


def _groups(work: Work, runs: int, options: PersistOptions) -> Iterator[tuple[Work, range]]:
    size = 1 if options.commit == "run" else max(runs, 1)
    for start in range(0, runs, size):
        rows = range(start, min(start + size, runs))
        if work is Work.PAIR and options.pair == "sequential":
            yield Work.SNAPSHOT, rows
            yield Work.MANIFEST, rows
        else:
            yield work, rows
