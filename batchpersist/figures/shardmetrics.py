"""The metrics of a batch's shards (``--shard K/N``) brought together into those of the whole batch.

Each shard reads all of the sources and settles its own tasks: so what it did with runs adds up, while
what is invalid was met by all of them, and counts as often as the one saw it that saw it most often.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from hashlib import blake2b
from typing import Any

from ..batches.batchfolder import BatchFolder
from ..errors import UsageError
from ..layout import Layout
from .counts import Counts
from .groups import MAX_ERRORS, MAX_TASKS, SAMPLES
from .metrics import SCHEMA_VERSION
from .shardparts import ShardPart, worst_state
from .timing import SIDES, percentiles, rate, seconds

_OF_ALL = ("invalid", "other_shards", "discovered")
"""Counts that do not add up over shards."""

_SLOWEST = ("wall_seconds", "scan", "plan", "settle", "pool_start")
_IN_ALL = ("pair_seconds", "sum_if_sequential", "syncs", "retried_runs", "cached_sources")
_UNKNOWN = dict.fromkeys(("p50", "p90", "p99"))


def merge_parts(parts: Sequence[ShardPart]) -> dict[str, Any]:
    """The metrics of shards that belong together (``shardparts.check_parts``), in the form of one batch's.

    Percentiles come from the outcome tables in the batches' folders; where one is not there, only the
    largest value is told. Raises UsageError where two shards had the same task, and TotalsError where
    counts do not add up.
    """
    errors, errors_omitted = _errors(parts)
    counts = _counts(parts, sum(error["count"] for error in errors if error["stage"] == "input"))
    tasks, tasks_omitted = _tasks(parts)
    documents = [part.metrics for part in parts]
    started = min(document.started_at for document in documents)
    return {
        "schema_version": SCHEMA_VERSION,
        "batch_id": _batch_id(parts),
        "parts": max(document.parts for document in documents),
        "started_at": started,
        "finished_at": max(document.finished_at for document in documents),
        "version": ", ".join(sorted({document.version for document in documents})),
        "state": worst_state(parts),
        "interrupted": any(document.interrupted for document in documents),
        "config": _config(parts),
        "counts": asdict(counts),
        "passed_over": _by_name(max, [document.passed_over for document in documents]),
        "unknown_suffixes": dict(
            sorted(_by_name(max, [document.unknown_suffixes for document in documents]).items())
        ),
        "bytes": _by_name(sum, [document.bytes for document in documents]),
        "timing": _timing(parts, counts),
        "errors": errors,
        "errors_omitted": errors_omitted,
        "tasks": tasks,
        "tasks_omitted": tasks_omitted,
    }


def _batch_id(parts: Sequence[ShardPart]) -> str:
    """Of the form of any batch's; the same for the same parts."""
    ids = sorted(part.metrics.batch_id for part in parts)
    digest = blake2b("\n".join(ids).encode(), digest_size=3).hexdigest()
    return f"{ids[0].partition('-')[0]}-{digest}"


def _config(parts: Sequence[ShardPart]) -> dict[str, Any]:
    """Null for what the shards did not have in common."""
    configs = [part.metrics.config for part in parts]
    return {
        name: value if all(config.get(name) == value for config in configs) else None
        for name, value in configs[0].items()
    }


def _counts(parts: Sequence[ShardPart], invalid: int) -> Counts:
    """``invalid``: lines that were told, as far as they are listed."""
    found = [part.counts for part in parts]
    added = {
        field.name: sum(getattr(counts, field.name) for counts in found)
        for field in fields(Counts)
        if field.name not in _OF_ALL
    }
    invalid = max(invalid, *(counts.invalid for counts in found))
    own = added["filtered"] + added["superseded"] + added["selected"]
    complete = len(parts) == parts[0].shard.of
    others = 0 if complete else max(counts.discovered - counts.invalid for counts in found) - own
    others = max(0, others)
    counts = Counts(discovered=own + invalid + others, invalid=invalid, other_shards=others, **added)
    counts.check()
    return counts


def _by_name(merge: Any, mappings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: merge(mapping[name] for mapping in mappings) for name in mappings[0]}


def _timing(parts: Sequence[ShardPart], counts: Counts) -> dict[str, Any]:
    """In the order of the parts' own."""
    timings = [part.metrics.timing for part in parts]
    merged = {name: max(timing[name] for timing in timings) for name in _SLOWEST}
    merged |= {name: sum(timing[name] for timing in timings) for name in _IN_ALL}
    for name in ("pair_seconds", "sum_if_sequential"):
        merged[name] = seconds(merged[name])
    phases = _by_name(sum, [timing["phases"] for timing in timings])
    merged["phases"] = {name: seconds(value) for name, value in phases.items()}
    merged["runs_per_second"] = rate(counts.attempted, counts.resumed, merged["wall_seconds"])
    merged |= _percentiles(parts)
    return {name: merged[name] for name in timings[0]}


def _percentiles(parts: Sequence[ShardPart]) -> dict[str, dict[str, float | None]]:
    import pyarrow as pa

    tables = [_attempted(part) for part in parts]
    if all(tables):
        table = pa.concat_tables(tables)
        return {side: percentiles(table[f"{side}_seconds"]) for side in SIDES}
    most = {side: [part.metrics.timing[side]["max"] for part in parts] for side in SIDES}
    return {side: {**_UNKNOWN, "max": max(filter(None, found), default=None)} for side, found in most.items()}


def _attempted(part: ShardPart) -> Any:
    """The seconds of a shard's attempted runs, from its batch's folder; None where that is gone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    config = part.metrics.config
    folder = BatchFolder(Layout(config["out_dir"], config["runs_dir"]).batch(part.metrics.batch_id))
    try:
        table = folder.read_table(folder.outcomes, ["status", *(f"{side}_seconds" for side in SIDES)])
    except (OSError, pa.ArrowException):
        return None
    attempted = pa.array(["persisted", "unchanged", "failed"])
    table = table.filter(pc.is_in(table["status"].cast(pa.string()), attempted)).drop_columns("status")
    return table if table.num_rows == part.counts.attempted else None


def _errors(parts: Sequence[ShardPart]) -> tuple[list[dict[str, Any]], int]:
    """The groups of all shards in the order of one batch's; and how many are not listed, at most."""
    groups: dict[tuple[str, str, str], dict[str, Any]] = {}
    for part in parts:
        for error in part.metrics.errors:
            cause = error["stage"], error["type"], error["message"]
            group = groups.setdefault(cause, {**error, "count": 0, "samples": []})
            group["samples"] += [sample for sample in error["samples"] if sample not in group["samples"]]
            if error["stage"] == "input":
                group["count"] = max(group["count"], error["count"], len(group["samples"]))
            else:
                group["count"] += error["count"]
    order = sorted(groups.values(), key=lambda group: (group["type"], group["message"], group["stage"]))
    listed = sorted(order, key=lambda group: -group["count"])
    for group in listed:
        group["samples"] = group["samples"][:SAMPLES]
    omitted = sum(part.metrics.errors_omitted for part in parts)
    return listed[:MAX_ERRORS], omitted + len(listed[MAX_ERRORS:])


def _tasks(parts: Sequence[ShardPart]) -> tuple[list[dict[str, Any]], int]:
    tasks = [task for part in parts for task in part.metrics.tasks]
    _check_once(task["task_id"] for task in tasks)
    tasks.sort(key=lambda task: (not task["failed"], -task["runs"], task["task_id"]))
    listed = sorted(tasks[:MAX_TASKS], key=lambda task: str(task["task_id"]))
    omitted = sum(part.metrics.tasks_omitted for part in parts)
    return listed, omitted + len(tasks[MAX_TASKS:])


def _check_once(task_ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for task_id in task_ids:
        if task_id in seen:
            raise UsageError(f"not shards of one batch: two of them settled the task {task_id}")
        seen.add(task_id)
