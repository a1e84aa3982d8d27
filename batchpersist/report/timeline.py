"""When the shards of a batch were persisted, and by whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from ..metrics.outcome_table import ShardRow
from ..records.journal import ShardEntry, read_journal
from .document import Span, Throughput, Worker, Workers

if TYPE_CHECKING:
    import pyarrow as pa

BINS = 60

LANES = 32
"""Workers that are shown."""

RESOLUTION = 600
"""Spans of a worker at most, about: closer shards of the same kind become one."""


class JournalProgress(NamedTuple):
    """How far a batch came that has left no metrics."""

    shards: list[ShardRow]
    unchanged: int
    failed: int

    @property
    def runs(self) -> int:
        """Runs whose pairs have settled. A split task's runs count with their manifests."""
        return sum(shard.runs for shard in self.shards if shard.work != "snapshot")


def shard_rows(table: pa.Table) -> list[ShardRow]:
    """The rows of ``shards.parquet``."""
    columns = [table[name].to_pylist() for name in ShardRow._fields]
    return [ShardRow(*values) for values in zip(*columns, strict=True)]


def read_progress(path: str) -> JournalProgress:
    """Read how far a batch came from its journal; nothing where there is none yet. Raises OSError."""
    shards: list[ShardRow] = []
    unchanged = failed = 0
    try:
        for entry in read_journal(path):
            if isinstance(entry, ShardEntry):
                place = (entry.number, entry.work.value, entry.pid, entry.started, entry.finished)
                shards.append(ShardRow(*place, entry.runs))
                unchanged += entry.unchanged
                failed += entry.failed
    except FileNotFoundError:
        pass
    return JournalProgress(shards, unchanged, failed)


def build_throughput(shards: Sequence[ShardRow]) -> Throughput | None:
    """Runs by time; None where no pair was attempted. A split task's runs count with their manifests."""
    counted = [shard for shard in shards if shard.work != "snapshot"]
    if not counted:
        return None
    begin, total = _extent(shards)
    width = total / BINS
    runs = [0.0] * BINS
    for shard in counted:
        _spread(shard.started - begin, shard.finished - begin, shard.runs, width, runs)
    return Throughput(width, runs)


def _spread(started: float, finished: float, runs: int, width: float, bins: list[float]) -> None:
    """Add a shard's runs to the bins that its time covers, each as much as it is covered."""
    first, last = (min(int(moment / width), len(bins) - 1) for moment in (started, finished))
    if first == last:
        bins[first] += runs
        return
    for place in range(first, last + 1):
        covered = min(finished, (place + 1) * width) - max(started, place * width)
        bins[place] += runs * max(covered, 0.0) / (finished - started)


def build_workers(shards: Sequence[ShardRow]) -> Workers | None:
    """A timeline for each process; None where none did a shard."""
    if not shards:
        return None
    begin, total = _extent(shards)
    by_pid: dict[int, list[ShardRow]] = {}
    for shard in sorted(shards, key=attrgetter("started")):
        by_pid.setdefault(shard.pid, []).append(shard)
    found = [_worker(pid, mine, begin, total / RESOLUTION) for pid, mine in by_pid.items()]
    busiest = sorted(found, key=lambda worker: -worker.busy_seconds)[:LANES]
    listed = [worker for worker in found if worker in busiest]
    return Workers(total, listed, len(found) - len(listed))


def _worker(pid: int, shards: Sequence[ShardRow], begin: float, gap: float) -> Worker:
    cpu = [shard.cpu_seconds for shard in shards if shard.cpu_seconds is not None]
    return Worker(
        pid=pid,
        runs=sum(shard.runs for shard in shards if shard.work != "snapshot"),
        busy_seconds=sum(max(shard.finished - shard.started, 0.0) for shard in shards),
        cpu_seconds=sum(cpu) if cpu else None,
        spans=list(_spans(shards, begin, gap)),
    )


def _spans(shards: Iterable[ShardRow], begin: float, gap: float) -> Iterable[Span]:
    span: Span | None = None
    for shard in shards:
        started, finished = shard.started - begin, shard.finished - begin
        if span is not None and span.work == shard.work and started - span.finished < gap:
            span.finished = max(span.finished, finished)
            span.runs += shard.runs
            span.shards += 1
            continue
        if span is not None:
            yield span
        span = Span(shard.work, started, finished, shard.runs, 1)
    if span is not None:
        yield span


def _extent(shards: Sequence[ShardRow]) -> tuple[float, float]:
    """When the first one started, and the seconds until the last one ended (never 0)."""
    begin = min(shard.started for shard in shards)
    return begin, max(max(shard.finished for shard in shards) - begin, 1e-6)
