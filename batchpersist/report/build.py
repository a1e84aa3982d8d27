"""The document of a report, from whatever there is of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..columns import read_parquet
from ..figures.outcomes import ShardRow, iter_outcomes
from ..monitoring import latency
from . import failures
from .alone import from_table
from .document import BatchDocument, Latency
from .ended import from_metrics
from .inputs import BatchInputs
from .sentences import IN_THE_FUTURE
from .shardrows import rows_of
from .shardtimes import throughput, workers
from .unended import from_journal

if TYPE_CHECKING:
    import pyarrow as pa

BOUNDS = tuple(round(10 ** (step / 10), 9) for step in range(-50, 51))
"""Seconds, ten for each power of ten, from 10 microseconds to a day."""

_COLUMNS = tuple(dict.fromkeys((*latency.COLUMNS, *failures.COLUMNS, "shard")))


def build_document(inputs: BatchInputs) -> BatchDocument:
    """Raises UsageError where a file is not what its name says, OSError."""
    document = _opened(inputs)
    if inputs.status is not None and inputs.layout is not None:
        document.exit_code, document.host = inputs.status.record.exit_code, inputs.status.record.host
        document.runs_dir = inputs.layout.runs_dir
        if inputs.status.starts_in_the_future:
            document.notes.append(IN_THE_FUTURE)
    if inputs.outcomes is not None:
        _look_into(document, inputs, inputs.outcomes)
    return document


def _opened(inputs: BatchInputs) -> BatchDocument:
    if inputs.metrics is not None:
        document = from_metrics(inputs.metrics)
        if inputs.note is not None:
            document.notes.append(inputs.note)
        return document
    if inputs.status is not None:
        return from_journal(inputs.status)
    assert inputs.outcomes is not None
    return from_table(inputs.outcomes)


def _look_into(document: BatchDocument, inputs: BatchInputs, outcomes: str) -> None:
    """What only the tables know: how long runs took, which ones failed, who did what and when."""
    shards = rows_of(read_parquet(inputs.shards)) if inputs.shards else []
    distribution, failed, split = latency.Distribution(BOUNDS), failures.FailedRuns(), _SplitTasks(shards)
    for piece in iter_outcomes(outcomes, _COLUMNS):
        for taker in (distribution, failed, split):
            taker.add(piece)
    rejects = read_parquet(inputs.rejects) if inputs.rejects else None
    document.failed_runs, document.failed_runs_omitted = failed.listed(rejects)
    document.latency, document.split_tasks = _latency(distribution), sorted(split.found)
    document.throughput, document.workers = throughput(shards), workers(shards)
    if document.parts > 1:
        document.notes.append("The batch was interrupted and continued: the times are its last part's.")


class _SplitTasks:
    """The tasks whose manifests were written in shards of their own: so that all workers could help."""

    def __init__(self, shards: list[ShardRow]) -> None:
        self._shards = sorted({shard.number for shard in shards if shard.work == "manifest"})
        self.found: set[str] = set()

    def add(self, rows: pa.Table) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._shards:
            mine = pc.is_in(rows["shard"], value_set=pa.array(self._shards, pa.int32()))
            self.found |= set(rows["task_id"].filter(mine).cast(pa.string()).unique().to_pylist())


def _latency(distribution: latency.Distribution) -> Latency | None:
    """Only the bounds between the quickest and the slowest; two at least."""
    if not distribution.totals["pair"]:
        return None
    columns = list(zip(*distribution.counts.values(), strict=True))
    reached = [place for place, counts in enumerate(columns) if any(counts)]
    whole = [place for place, counts in enumerate(columns) if counts == tuple(distribution.totals.values())]
    first = max(min(reached, default=0) - 1, 0)
    shown = slice(first, max(min(whole, default=len(BOUNDS) - 1) + 1, first + 2))
    cut: dict[str, Any] = {name: counts[shown] for name, counts in distribution.counts.items()}
    return Latency(runs=distribution.totals["pair"], seconds=list(BOUNDS[shown]), **cut)
