"""The metrics of a batch, built from its outcome table: counts that must add up, tasks, causes, timings."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ..foreign_text import encodable
from ..models import Side
from ..timestamps import utc_text
from .outcome_table import ShardTotals, Status
from .schema import (
    MAX_ERRORS,
    MAX_TASKS,
    SAMPLES,
    SCHEMA_VERSION,
    Bytes,
    Cause,
    Counts,
    EndState,
    Metrics,
    PassedOver,
    Percentiles,
    Sample,
    Task,
    TaskTiming,
    Timing,
    WorkerPhases,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from ..models import Reject, ScanTotals

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
    """Seconds of named laps, and in all."""

    def __init__(self) -> None:
        self._started = self._lap = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """End a lap; the next one begins."""
        before, self._lap = self._lap, time.perf_counter()
        self.laps[name] = self._lap - before

    def total(self) -> float:
        return time.perf_counter() - self._started


def rate(attempted: int, resumed: int, wall: float) -> float:
    """Runs a second, without those that an earlier part of the batch had persisted."""
    return round((attempted - resumed) / wall, 1) if wall > 0 else 0.0


def build_timing(
    table: pa.Table, totals: ShardTotals, phases: Phases, *, resumed: int, cached_sources: int
) -> Timing:
    """The ``timing`` of the metrics, from the outcome table and what its shards reported beside it.

    ``resumed``: attempted runs that an earlier part of the batch had persisted.
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


def _by_phase(totals: ShardTotals, phases: Phases) -> WorkerPhases:
    """Seconds summed over all workers, and those in which they had nothing in hand."""
    pool = max(0.0, phases.worker_seconds - totals.shard_seconds)
    return WorkerPhases(**{name: seconds(value) for name, value in {**totals.phases, "pool": pool}.items()})


def _attempted(table: pa.Table) -> pa.Array:
    """Whether each run was attempted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    statuses = pa.array([Status.PERSISTED, Status.UNCHANGED, Status.FAILED], pa.int8())
    return pc.is_in(table["status"].combine_chunks().indices, value_set=statuses)


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


_CAUSE = ("stage", "type", "message")


def count_outcomes(
    table: pa.Table,
    *,
    discovered: int,
    invalid: int,
    filtered: int,
    other_shards: int = 0,
    resumed: int = 0,
) -> Counts:
    """Count an outcome table; the keywords are what came before it. Not checked yet."""
    pairs = table.select(["status", "snapshot", "manifest"])
    groups = pairs.group_by(pairs.column_names, use_threads=False)
    by_status = dict.fromkeys((name.lower() for name in Status.__members__), 0)
    by_failure = dict.fromkeys(((False, False), (True, False), (False, True), (True, True)), 0)
    locked = 0
    bad = {Side.FAILED.name.lower(), Side.LOCKED.name.lower()}
    for group in groups.aggregate([([], "count_all")]).to_pylist():
        runs = group["count_all"]
        by_status[group["status"]] += runs
        if group["status"] in ("superseded", "not_attempted"):
            continue
        by_failure[group["snapshot"] in bad, group["manifest"] in bad] += runs
        locked += runs if group["snapshot"] == "locked" else 0
    return Counts(
        discovered=discovered,
        invalid=invalid,
        filtered=filtered,
        other_shards=other_shards,
        selected=table.num_rows - by_status["superseded"],
        **by_status,
        both_ok=by_failure[False, False],
        snapshot_failed=by_failure[True, False],
        manifest_failed=by_failure[False, True],
        both_failed=by_failure[True, True],
        snapshot_locked=locked,
        resumed=resumed,
    )


def list_tasks(table: pa.Table, commit_seconds: Mapping[str, float]) -> tuple[list[Task], int]:
    """An entry for each task, sorted by task_id; and how many tasks beyond MAX_TASKS were left out.

    Tasks with failures are listed first, then those of the most runs.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = table["status"].combine_chunks().indices
    columns = {name.lower(): pc.equal(codes, status.value) for name, status in Status.__members__.items()}
    columns["runs"] = pc.not_equal(codes, Status.SUPERSEDED.value)
    rows = pa.table({"task_id": table["task_id"], **columns})
    tasks = rows.group_by("task_id", use_threads=False).aggregate([(name, "sum") for name in columns])
    tasks = tasks.rename_columns([name.removesuffix("_sum") for name in tasks.column_names])
    tasks = tasks.set_column(0, "task_id", tasks["task_id"].cast(pa.string()))  # so that it can be sorted
    tasks = tasks.append_column("failing", pc.greater(tasks["failed"], 0))
    order = [("failing", "descending"), ("runs", "descending"), ("task_id", "ascending")]
    listed = tasks.sort_by(order).slice(0, MAX_TASKS).sort_by("task_id")
    entries = [_task_entry(task, commit_seconds) for task in listed.to_pylist()]
    return entries, tasks.num_rows - len(entries)


def _task_entry(task: Mapping[str, Any], commit_seconds: Mapping[str, float]) -> Task:
    took = commit_seconds.get(task["task_id"])
    timing = TaskTiming(commit_seconds=None if took is None else seconds(took))
    return Task(**{name: task[name] for name in Task.__struct_fields__ if name != "timing"}, timing=timing)


def list_causes(table: pa.Table, rejects: Sequence[Reject]) -> tuple[list[Cause], int]:
    """What failed, grouped by stage, type and message, the most frequent first; and how many groups
    beyond MAX_ERRORS were left out. Samples are the first in source order (rejects) or plan order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    failures = pa.concat_tables([_rejected(rejects), _failed(table, "snapshot"), _failed(table, "manifest")])
    groups = failures.group_by(list(_CAUSE), use_threads=False)  # which also keeps the rows in order
    causes = groups.aggregate([("row", "count"), ("row", "list")])
    order = [(name, "ascending") for name in ("type", "message", "stage")]
    listed = causes.sort_by([("row_count", "descending"), *order]).slice(0, MAX_ERRORS)
    samples = pc.list_slice(listed["row_list"], 0, SAMPLES).to_pylist()
    entries = [
        Cause(
            **{name: cause[name] for name in _CAUSE},
            count=cause["row_count"],
            samples=_samples(cause["stage"], rows, table, rejects),
        )
        for cause, rows in zip(listed.drop_columns("row_list").to_pylist(), samples, strict=True)
    ]
    return entries, causes.num_rows - len(entries)


def _rejected(rejects: Sequence[Reject]) -> pa.Table:
    """The cause of each reject, and its place among them."""
    types = [reject.failure.type for reject in rejects]
    messages = [encodable(reject.failure.message) for reject in rejects]
    return _failures("input", types, messages, range(len(rejects)))


def _failed(table: pa.Table, side: str) -> pa.Table:
    """The cause of each failure of one side, and its row; of runs that count."""
    import pyarrow.compute as pc

    counts = pc.not_equal(table["status"].combine_chunks().indices, Status.SUPERSEDED.value)
    types, messages = table[f"{side}_error_type"], table[f"{side}_error_message"]
    # In one piece: of no pieces at all, older Arrow finds the nonzero ones by crashing.
    rows = pc.indices_nonzero(pc.and_(pc.is_valid(types.combine_chunks()), counts))
    return _failures(side, types.take(rows), messages.take(rows), rows)


def _failures(stage: str, types: Any, messages: Any, rows: Any) -> pa.Table:
    import pyarrow as pa

    kinds = {name: pa.string() for name in _CAUSE} | {"row": pa.int64()}
    columns = {"stage": pa.repeat(stage, len(rows)), "type": types, "message": messages, "row": rows}
    return pa.table(columns, schema=pa.schema(kinds))


def _samples(stage: str, rows: Sequence[int], table: pa.Table, rejects: Sequence[Reject]) -> list[Sample]:
    if stage == "input":
        return [_reject_sample(rejects[row]) for row in rows]
    names = ["source", "line", "task_id", "run_id", "detail"]
    picked = table.select([*names[:-1], f"{stage}_error_detail"]).take(rows)
    return [Sample(**row) for row in picked.rename_columns(names).to_pylist()]


def _reject_sample(reject: Reject) -> Sample:
    """Without ids: there is no valid run to take them from."""
    return Sample(
        source=encodable(reject.source),
        line=reject.line,
        task_id=None,
        run_id=None,
        detail=encodable(reject.failure.detail),
    )


@dataclass(frozen=True)
class BatchInfo:
    """What is known of a batch apart from its runs."""

    batch_id: str
    started_at: datetime
    finished_at: datetime
    """Both with a time zone."""
    version: str
    config: Mapping[str, Any]
    """As JSON holds it; shown as it is."""
    state: EndState = "finished"
    parts: int = 1
    """One more for each time that it was continued."""


def build_metrics(
    info: BatchInfo,
    phases: Phases,
    *,
    scan: ScanTotals,
    rejects: Sequence[Reject],
    filtered: int,
    other_shards: int = 0,
    resumed: int = 0,
    table: pa.Table,
    totals: ShardTotals,
) -> Metrics:
    """The metrics of a batch; ``table`` and ``totals`` come from its OutcomeBuilder.

    ``rejects`` are the invalid runs in source order, ``filtered`` those that the selection
    left out, ``other_shards`` those that are other shards' work, ``resumed`` those that an earlier
    part of the batch persisted. Raises TotalsError where the counts do not add up.
    """
    import pyarrow.compute as pc

    counts = count_outcomes(
        table,
        discovered=scan.discovered,
        invalid=len(rejects),
        filtered=filtered,
        other_shards=other_shards,
        resumed=resumed,
    )
    counts.check()
    tasks, tasks_omitted = list_tasks(table, totals.commit_seconds)
    errors, errors_omitted = list_causes(table, rejects)
    return Metrics(
        schema_version=SCHEMA_VERSION,
        batch_id=info.batch_id,
        parts=info.parts,
        started_at=utc_text(info.started_at),
        finished_at=utc_text(info.finished_at),
        version=info.version,
        state=info.state,
        interrupted=info.state == "interrupted",
        config=dict(info.config),
        counts=counts,
        passed_over=PassedOver(
            other_events=scan.other_events,
            other_manifests=scan.other_manifests,
            ignored_files=scan.ignored_files,
            incomplete=scan.incomplete,
        ),
        unknown_suffixes=dict(sorted(scan.unknown_suffixes.items())),
        bytes=Bytes(
            read=scan.bytes_read,
            snapshots=totals.snapshot_bytes,
            manifests=pc.sum(table["manifest_bytes"]).as_py() or 0,
        ),
        timing=build_timing(table, totals, phases, resumed=resumed, cached_sources=scan.cached_sources),
        errors=errors,
        errors_omitted=errors_omitted,
        tasks=tasks,
        tasks_omitted=tasks_omitted,
    )


def stable(metrics: Any) -> Any:
    """A copy as plain data without what varies from run to run, at any depth.

    That is every ``timing``, ``batch_id`` and ``*_at``. Equal for two batches that did the same work with the
    same configuration. ``metrics``: ``Metrics``, or a part of them, or what JSON holds of them.
    """
    return _stable(msgspec.to_builtins(metrics))


def _stable(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _stable(value) for name, value in part.items() if not _varies(name)}
    return [_stable(value) for value in part] if isinstance(part, list) else part


def _varies(name: str) -> bool:
    return name in ("timing", "batch_id") or name.endswith("_at")
