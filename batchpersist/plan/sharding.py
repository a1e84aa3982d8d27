"""Cuts a plan into shards for the workers (``--shard K/N`` is a ``Partition``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..memory_limit import MemoryBound
from ..models import Shard, Work

SHARD_RUNS = 1_000
"""Most runs of a shard: from about here a sync of the file system is worth its cost."""

SHARD_BYTES = 8 << 20
"""Most payload bytes of a shard, unless a single run has more."""

KNOWN_SHARDS = 8
"""How many times as large shards are if nearly all runs are known to be unchanged: each run is little work,
and each shard costs a round trip and a few milliseconds of waiting."""

SHARD_TASKS = 100
"""Most tasks of a shard: each keeps its old snapshot open until it is committed, and some systems allow a
process no more than 256 open files."""

HOT_SHARDS = 4
"""A task of more shards than this is split: one shard commits, many write its manifests."""


class TaskRows(NamedTuple):
    """Where a task's rows lie, and their payloads' bytes."""

    number: int
    start: int
    stop: int
    size_before: int
    """Of all tasks before it."""
    size: int

    @property
    def runs(self) -> int:
        return self.stop - self.start


def shard_runs(rows: int, workers: int, most: int = SHARD_RUNS) -> int:
    """The most runs of a shard: fewer if there are few runs, so that each worker gets some."""
    return most if workers == 1 else max(1, min(most, -(-rows // (workers * 4))))


class Bounds(NamedTuple):
    """The most runs and payload bytes of a shard, and of a task that is not split."""

    runs: int
    size: int
    whole_runs: int
    whole_size: int


def shard_bounds(shard_runs: int, scale: int, memory: MemoryBound) -> Bounds:
    """For shards ``scale`` times as large as usual, as far as they fit in memory."""
    sizes = (SHARD_BYTES * scale, SHARD_BYTES * HOT_SHARDS)
    size, whole_size = map(memory.shard_bytes, sizes)
    return Bounds(shard_runs * scale, size, shard_runs * HOT_SHARDS, whole_size)


def cut_shards(tasks: Sequence[TaskRows], most: Bounds, split_tasks: bool) -> Iterator[Shard]:
    """Shards of the tasks in order: several small ones in each; a hot one is split."""
    first: TaskRows | None = None
    last: TaskRows | None = None
    for task in tasks:
        hot = split_tasks and (task.runs > most.whole_runs or task.size > most.whole_size)
        if first and last and (hot or not _fits(first, task, most)):
            yield _pack(first, last)
            first = None
        if hot:
            yield from _split(task, most)
        else:
            first, last = first or task, task
    if first and last:
        yield _pack(first, last)


def _fits(first: TaskRows, task: TaskRows, most: Bounds) -> bool:
    """Whether a shard that begins with ``first`` may reach to the end of ``task``."""
    return (
        task.stop - first.start <= most.runs
        and task.size_before + task.size - first.size_before <= most.size
        and task.number - first.number < SHARD_TASKS
    )


def _pack(first: TaskRows, last: TaskRows) -> Shard:
    size = last.size_before + last.size - first.size_before
    return Shard(0, Work.PAIR, first.start, last.stop, size)


def _split(task: TaskRows, most: Bounds) -> Iterator[Shard]:
    """One shard for the snapshot; even shards within both bounds for the manifests."""
    yield Shard(0, Work.SNAPSHOT, task.start, task.stop, task.size)
    count = max(-(-task.runs // most.runs), -(-task.size // most.size))
    step = -(-task.runs // count)
    for start in range(task.start, task.stop, step):
        stop = min(start + step, task.stop)
        yield Shard(0, Work.MANIFEST, start, stop, task.size * (stop - start) // task.runs)
