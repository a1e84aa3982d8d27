"""The summary at the end of a batch: what happened, what failed, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ..batch.dry_run import Preview
from ..errors import MissingKeyError
from ..metrics.schema import Cause, Metrics
from ..models import failure_type, place_of
from ..report.outcome_text import incomplete, nothing_found, outcome, skipped, what_next, work_done
from ..wording import number, size

SHOWN_CAUSES = 5


def summary_lines(metrics: Metrics, metrics_path: str) -> Iterator[str]:
    """The lines of a summary; the last one has the result."""
    yield from _cause_lines(metrics.errors, metrics.errors_omitted)
    counts, timing = metrics.counts, metrics.timing
    missing = [cause for cause in metrics.errors if cause.type == failure_type(MissingKeyError)]
    if counts.discovered and sum(cause.count for cause in missing) == counts.discovered:
        yield missing_keys_hint(counts.discovered, missing[0].samples[0].detail)
    tasks = len(metrics.tasks) + metrics.tasks_omitted
    yield (
        f"{work_done(counts)} of {number(tasks, 'task')} in {timing.wall_seconds:.1f} s "
        f"({timing.runs_per_second:,.0f} runs/s); details in {metrics_path}"
    )
    yield from _skipped_lines(metrics.passed_over.incomplete, metrics.unknown_suffixes)
    causes = {cause.type for cause in metrics.errors}
    yield f"{outcome(counts, metrics.state)} {what_next(counts, metrics.state, causes)}"


def metrics_fields(metrics: Metrics, *names: str) -> dict[str, Any]:
    """Select fields of the metrics for ``--json``."""
    return {name: msgspec.to_builtins(getattr(metrics, name)) for name in names}


def preview_lines(preview: Preview) -> Iterator[str]:
    """The lines of the summary of a dry run."""
    yield (
        f"{number(preview.selected, 'run')} of {number(preview.tasks, 'task')} "
        f"({size(preview.bytes)}) in {number(preview.shards, 'shard')}; "
        f"of {preview.discovered:,} found, {preview.invalid:,} invalid, {preview.filtered:,} filtered out, "
        f"{preview.superseded:,} superseded by a later line"
        + (f", {preview.other_shards:,} left to other shards" if preview.other_shards else "")
    )
    yield from _skipped_lines(preview.incomplete, preview.unknown_suffixes)
    unreadable = f", {preview.unreadable:,} that cannot be read" if preview.unreadable else ""
    opening = "Interrupted dry run" if preview.interrupted else "Dry run"
    counts = f"{preview.new:,} new, {preview.changed:,} changed, {preview.unchanged:,} unchanged{unreadable}"
    nothing = "" if preview.interrupted else nothing_found(preview.discovered, preview.filtered)
    yield f"{opening}: {counts}. Nothing was written. {nothing}".rstrip()


def _skipped_lines(run_folders: int, suffixes: Mapping[str, int]) -> Iterator[str]:
    """What was skipped, if anything was."""
    yield from filter(None, (incomplete(run_folders), skipped(suffixes)))


def _cause_lines(errors: Sequence[Cause], omitted: int) -> Iterator[str]:
    """The most frequent causes of failures, each with an example."""
    for cause in errors[:SHOWN_CAUSES]:
        sample = cause.samples[0]
        run = f" ({sample.task_id}/{sample.run_id})" if sample.task_id else ""
        detail = f": {sample.detail}" if sample.detail else ""
        place = place_of(sample.source, sample.line)
        yield f"{cause.count:,} x {cause.stage}: {cause.message}, e.g. {place}{run}{detail}"
    further = len(errors[SHOWN_CAUSES:]) + omitted
    if further:
        yield f"... and {number(further, 'more cause')}"


def missing_keys_hint(count: int, options: str) -> str:
    """The advice if all documents lack a key. ``options``: those that would read one of them, if known."""
    options = options or "--task-key, --run-key and --time-key say what the keys are called there"
    return f"{number(count, 'document')} found, and each lacks a key. {options}."


def approximate_duration(seconds: float) -> str:
    """A time span as a person would say it: no more exact than it helps."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
