"""How long the writes of a batch took: the part of the metrics that varies."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .outcome_table import SettleTotals, Status
from .schema import Percentiles, Timing, WorkerPhases

if TYPE_CHECKING:
    import pyarrow as pa

SIDES = ("snapshot", "manifest", "pair")
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True)
class Phases:
    """Seconds of a batch as a whole and of its parts, by a clock that is never set back."""

    wall: float
    scan: float
    plan: float
    settle: float
    worker_seconds: float = 0.0
    """Those of all workers together, from the first shard's submission to the last one's return."""
    pool_start: float = 0.0
    """Of ``scan``: until the first worker of a pool was ready."""


class Stopwatch:
    """Seconds between laps, and in all."""

    def __init__(self) -> None:
        self._started = self._lap = time.perf_counter()

    def lap(self) -> float:
        before, self._lap = self._lap, time.perf_counter()
        return self._lap - before

    def total(self) -> float:
        return time.perf_counter() - self._started


def rate(attempted: int, resumed: int, wall: float) -> float:
    """Runs a second of those that were settled in this time: what an earlier part of a batch did is not."""
    return round((attempted - resumed) / wall, 1) if wall > 0 else 0.0


def build_timing(
    table: pa.Table, totals: SettleTotals, phases: Phases, *, resumed: int, cached_sources: int
) -> Timing:
    """The ``timing`` of the metrics, from the outcome table and what its shards reported beside it.

    ``resumed``: attempted runs that an earlier part of the batch had settled.
    """
    attempted = _attempted(table)
    snapshot, manifest, pair = (percentiles(table[f"{side}_seconds"].filter(attempted)) for side in SIDES)
    return Timing(
        wall_seconds=seconds(phases.wall),
        scan=seconds(phases.scan),
        plan=seconds(phases.plan),
        settle=seconds(phases.settle),
        runs_per_second=rate(attempted.true_count, resumed, phases.wall),
        snapshot=snapshot,
        manifest=manifest,
        pair=pair,
        pair_seconds=seconds(totals.pair_seconds),
        sum_if_sequential=seconds(totals.sum_if_sequential),
        pool_start=seconds(phases.pool_start),
        phases=_by_phase(totals, phases),
        syncs=totals.syncs,
        retried_runs=totals.retried_runs,
        cached_sources=cached_sources,
    )


def _by_phase(totals: SettleTotals, phases: Phases) -> WorkerPhases:
    """Seconds summed over all workers, and those in which they had nothing in hand."""
    pool = max(0.0, phases.worker_seconds - totals.shard_seconds)
    return WorkerPhases(**{name: seconds(value) for name, value in {**totals.phases, "pool": pool}.items()})


def _attempted(table: pa.Table) -> pa.Array:
    """Whether each run was attempted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    settled = pa.array([Status.PERSISTED, Status.UNCHANGED, Status.FAILED], pa.int8())
    return pc.is_in(table["status"].combine_chunks().indices, value_set=settled)


def percentiles(column: pa.ChunkedArray) -> Percentiles:
    """p50, p90, p99 and max of the values that are not null; None throughout where there are none.

    A percentile is one of the values, the higher of the two where it falls between them: so
    it is true that at least 90% took at most p90.
    """
    import pyarrow.compute as pc

    values = pc.quantile(column, q=list(_QUANTILES.values()), interpolation="higher").to_pylist()
    found = dict(zip(_QUANTILES, values, strict=True)) | {"max": pc.max(column).as_py()}
    return Percentiles(**{name: None if value is None else seconds(value) for name, value in found.items()})


def seconds(value: float) -> float:
    """Rounded to microseconds: finer than what can be measured here, shorter to read."""
    return round(value, 6)
