"""Merges the metrics of a batch's partitions (``--shard K/N``) into those of the whole batch.

Each partition's command reads all sources and persists its own tasks. So its runs add up, while all commands
meet the same invalid input: of that, the largest count is taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

from msgspec.structs import replace

from ..batch_job import WORK
from ..errors import UsageError
from ..exit_codes import ExitCode
from ..partition import Partition
from ..paths import Layout
from ..records.batch_folder import BatchFolder
from .build import SIDES, percentiles, rate, seconds
from .outcome_table import read_outcomes
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
    Task,
    Timing,
    WorkerPhases,
    read_metrics,
)

_CODES: dict[EndState, ExitCode] = {
    "finished": ExitCode.SUCCESS,
    "timed_out": ExitCode.TIMED_OUT,
    "stopped": ExitCode.STOPPED,
    "interrupted": ExitCode.INTERRUPTED,
}
"""Exit codes of commands whose runs all went well; the worst one comes last."""


@dataclass(frozen=True)
class PartitionMetrics:
    """What one shard did."""

    path: str
    shard: Partition
    metrics: Metrics

    @property
    def exit_code(self) -> ExitCode:
        """Of its command, as far as its metrics show."""
        failures = self.metrics.has_failures
        return worst_exit_code(
            [_CODES[self.metrics.state], ExitCode.SOME_FAILED if failures else ExitCode.SUCCESS]
        )


def read_partition(path: str) -> PartitionMetrics:
    """Raises SourceMissingError, OSError, and UsageError where the file is not the metrics of a shard."""
    metrics = read_metrics(path)
    shard = metrics.config.get("shard")
    if not isinstance(shard, str):
        raise UsageError(f"{path}: these metrics are not a shard's: their batch had no --shard")
    return PartitionMetrics(path, Partition.parse(shard), metrics)


def check_partitions(parts: Iterable[PartitionMetrics], *, partial: bool) -> list[PartitionMetrics]:
    """The parts by their numbers. Raises UsageError where they are not those of one batch.

    ``partial``: some may be missing.
    """
    parts = sorted(parts, key=lambda part: part.shard.number)
    first = parts[0]
    for part in parts[1:]:
        if part.shard.of != first.shard.of:
            raise UsageError(f"{first.path} is shard {first.shard}, but {part.path} is {part.shard}")
        for name in (*WORK, "retry_of"):
            theirs, ours = part.metrics.config.get(name), first.metrics.config.get(name)
            if theirs != ours:
                raise UsageError(
                    f"not shards of one batch: {name} is {ours!r} in {first.path}, {theirs!r} in {part.path}"
                )
    _check_numbers(parts, partial=partial)
    return parts


def _check_numbers(parts: Sequence[PartitionMetrics], *, partial: bool) -> None:
    paths: dict[int, list[str]] = defaultdict(list)
    for part in parts:
        paths[part.shard.number].append(part.path)
    for number, same in paths.items():
        if len(same) > 1:
            raise UsageError(f"shard {number} is there twice: {' and '.join(same)}")
    of = parts[0].shard.of
    missing = [str(number) for number in range(1, of + 1) if number not in paths]
    if missing and not partial:
        raise UsageError(f"shards are missing of {of}: {', '.join(missing)} (--partial merges the others)")


def worst_exit_code(codes: Iterable[ExitCode]) -> ExitCode:
    """The exit code that says most of what went wrong."""
    return max(codes, key=(ExitCode.SUCCESS, ExitCode.SOME_FAILED, *_CODES.values()).index)


def worst_state(parts: Iterable[PartitionMetrics]) -> EndState:
    """That of the whole, if its shards ended so."""
    return max((part.metrics.state for part in parts), key=list(_CODES).index)


P = TypeVar("P", Bytes, Counts, PassedOver, WorkerPhases)

_SLOWEST = ("wall_seconds", "scan", "plan", "settle", "pool_start")
_IN_ALL = ("pair_seconds", "sum_if_sequential", "syncs", "retried_runs", "cached_sources")


def merge_partitions(parts: Sequence[PartitionMetrics]) -> Metrics:
    """The metrics of shards that belong together (``check_partitions``), in the form of one batch's.

    Percentiles come from the outcome tables in the batches' folders; if one is missing, only the
    largest value is known. Raises UsageError if two shards had the same task, and TotalsError if
    counts do not add up.
    """
    errors, errors_omitted = _errors(parts)
    counts = _counts(parts, sum(error.count for error in errors if error.stage == "input"))
    tasks, tasks_omitted = _tasks(parts)
    documents = [part.metrics for part in parts]
    suffixes = [document.unknown_suffixes for document in documents]
    return Metrics(
        schema_version=SCHEMA_VERSION,
        batch_id=_batch_id(parts),
        parts=max(document.parts for document in documents),
        started_at=min(document.started_at for document in documents),
        finished_at=max(document.finished_at for document in documents),
        version=", ".join(sorted({document.version for document in documents})),
        state=worst_state(parts),
        interrupted=any(document.interrupted for document in documents),
        config=_config(parts),
        counts=counts,
        passed_over=_by_field(max, [document.passed_over for document in documents]),
        unknown_suffixes={
            name: max(found.get(name, 0) for found in suffixes) for name in sorted(set().union(*suffixes))
        },
        bytes=_by_field(sum, [document.bytes for document in documents]),
        timing=_timing(parts, counts),
        errors=errors,
        errors_omitted=errors_omitted,
        tasks=tasks,
        tasks_omitted=tasks_omitted,
    )


def _batch_id(parts: Sequence[PartitionMetrics]) -> str:
    """Of the form of any batch's; the same for the same parts."""
    ids = sorted(part.metrics.batch_id for part in parts)
    digest = blake2b("\n".join(ids).encode(), digest_size=3).hexdigest()
    return f"{ids[0].partition('-')[0]}-{digest}"


def _config(parts: Sequence[PartitionMetrics]) -> dict[str, Any]:
    """Null for what the shards did not have in common."""
    configs = [part.metrics.config for part in parts]
    return {
        name: value if all(config.get(name) == value for config in configs) else None
        for name, value in configs[0].items()
    }


def _counts(parts: Sequence[PartitionMetrics], invalid: int) -> Counts:
    """``invalid``: invalid lines, as far as they are listed."""
    found = [part.metrics.counts for part in parts]
    added = _by_field(sum, found)
    own = added.filtered + added.superseded + added.selected
    invalid = max(invalid, *(counts.invalid for counts in found))
    complete = len(parts) == parts[0].shard.of
    others = 0 if complete else max(counts.discovered - counts.invalid for counts in found) - own
    others = max(0, others)
    counts = replace(added, discovered=own + invalid + others, invalid=invalid, other_shards=others)
    counts.check()
    return counts


def _by_field(merge: Callable[[Iterable[Any]], Any], documents: Sequence[P]) -> P:
    """A part of the metrics, each field of which is made of those of all shards."""
    first = documents[0]
    return type(first)(
        **{name: merge(getattr(each, name) for each in documents) for name in first.__struct_fields__}
    )


def _timing(parts: Sequence[PartitionMetrics], counts: Counts) -> Timing:
    timings = [part.metrics.timing for part in parts]
    merged = {name: max(getattr(timing, name) for timing in timings) for name in _SLOWEST}
    merged |= {name: sum(getattr(timing, name) for timing in timings) for name in _IN_ALL}
    for name in ("pair_seconds", "sum_if_sequential"):
        merged[name] = seconds(merged[name])
    snapshot, manifest, pair = _percentiles(parts)
    return Timing(
        **merged,
        runs_per_second=rate(counts.attempted, counts.resumed, merged["wall_seconds"]),
        snapshot=snapshot,
        manifest=manifest,
        pair=pair,
        phases=_by_field(_rounded_sum, [timing.phases for timing in timings]),
    )


def _rounded_sum(values: Iterable[float]) -> float:
    return seconds(sum(values))


def _percentiles(parts: Sequence[PartitionMetrics]) -> list[Percentiles]:
    """Of each of ``SIDES``."""
    import pyarrow as pa

    tables = [_attempted(part) for part in parts]
    if all(tables):
        table = pa.concat_tables(tables)
        return [percentiles(table[f"{side}_seconds"]) for side in SIDES]
    return [_unknown([getattr(part.metrics.timing, side) for part in parts]) for side in SIDES]


def _unknown(of_parts: Iterable[Percentiles]) -> Percentiles:
    """Percentiles do not follow from those of the parts; the largest value does."""
    largest = max((each.max for each in of_parts if each.max is not None), default=None)
    return Percentiles(p50=None, p90=None, p99=None, max=largest)


def _attempted(part: PartitionMetrics) -> Any:
    """The seconds of a shard's attempted runs, from its batch's folder; None where that is gone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    config = part.metrics.config
    folder = BatchFolder(Layout(config["out_dir"], config["runs_dir"]).batch(part.metrics.batch_id))
    try:
        table = read_outcomes(folder.outcomes, ["status", *(f"{side}_seconds" for side in SIDES)])
    except (OSError, UsageError):
        return None
    attempted = pa.array(["persisted", "unchanged", "failed"])
    table = table.filter(pc.is_in(table["status"].cast(pa.string()), attempted)).drop_columns("status")
    return table if table.num_rows == part.metrics.counts.attempted else None


def _errors(parts: Sequence[PartitionMetrics]) -> tuple[list[Cause], int]:
    """The groups of all shards in the order of one batch's; and how many are not listed, at most."""
    groups: dict[tuple[str, str, str], Cause] = {}
    for part in parts:
        for error in part.metrics.errors:
            cause = error.stage, error.type, error.message
            groups[cause] = _merged(groups[cause], error) if cause in groups else error
    order = sorted(groups.values(), key=lambda group: (-group.count, group.type, group.message, group.stage))
    listed = [replace(group, samples=group.samples[:SAMPLES]) for group in order[:MAX_ERRORS]]
    omitted = sum(part.metrics.errors_omitted for part in parts)
    return listed, omitted + len(order[MAX_ERRORS:])


def _merged(group: Cause, error: Cause) -> Cause:
    samples = group.samples + [sample for sample in error.samples if sample not in group.samples]
    if error.stage == "input":
        return replace(group, count=max(group.count, error.count, len(samples)), samples=samples)
    return replace(group, count=group.count + error.count, samples=samples)


def _tasks(parts: Sequence[PartitionMetrics]) -> tuple[list[Task], int]:
    tasks = [task for part in parts for task in part.metrics.tasks]
    _check_once(task.task_id for task in tasks)
    tasks.sort(key=lambda task: (not task.failed, -task.runs, task.task_id))
    listed = sorted(tasks[:MAX_TASKS], key=lambda task: task.task_id)
    omitted = sum(part.metrics.tasks_omitted for part in parts)
    return listed, omitted + len(tasks[MAX_TASKS:])


def _check_once(task_ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for task_id in task_ids:
        if task_id in seen:
            raise UsageError(f"not shards of one batch: two of them settled the task {task_id}")
        seen.add(task_id)
