"""Aggregates of an outcome table: counts that must add up, tasks, and failures by cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..foreign_text import encodable
from ..models import Side
from .outcome_table import Status
from .schema import MAX_ERRORS, MAX_TASKS, SAMPLES, Cause, Counts, Sample, Task, TaskTiming
from .timing import seconds

if TYPE_CHECKING:
    import pyarrow as pa

    from ..sources import Reject

_CAUSE = ("stage", "type", "message")


def count(
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


def by_task(table: pa.Table, commit_seconds: Mapping[str, float]) -> tuple[list[Task], int]:
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


def by_cause(table: pa.Table, rejects: Sequence[Reject]) -> tuple[list[Cause], int]:
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
