"""A finished batch in plain words: what happened, what failed, what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..preview import Preview

SHOWN_CAUSES = 5

_OPENINGS = {
    "finished": "Done",
    "stopped": "Stopped by the failure policy",
    "timed_out": "Out of time",
    "interrupted": "Interrupted",
}


def summary_lines(metrics: dict[str, Any], state: str, metrics_path: str) -> Iterator[str]:
    """Lines for a person; the last one says it all. ``metrics`` as in docs/metrics.md."""
    yield from _causes(metrics["errors"], metrics["errors_omitted"])
    counts, timing = metrics["counts"], metrics["timing"]
    tasks = len(metrics["tasks"]) + metrics["tasks_omitted"]
    yield (
        f"{number(counts['selected'], 'run')} of {number(tasks, 'task')} in {timing['wall_seconds']:.1f} s "
        f"({timing['runs_per_second']:,.0f} runs/s); details in {metrics_path}"
    )
    yield f"{_verdict(counts, state)} {_what_next(counts, state)}"


def preview_lines(preview: Preview) -> Iterator[str]:
    """A dry run in words."""
    yield (
        f"{number(preview.selected, 'run')} of {number(preview.tasks, 'task')} "
        f"({preview.bytes:,} bytes) in {number(preview.shards, 'shard')}; "
        f"of {preview.discovered:,} found, {preview.invalid:,} invalid, {preview.filtered:,} filtered out, "
        f"{preview.superseded:,} superseded by a later line"
        + (f", {preview.other_shards:,} left to other shards" if preview.other_shards else "")
    )
    unreadable = f", {preview.unreadable:,} that cannot be read" if preview.unreadable else ""
    opening = "Interrupted dry run" if preview.interrupted else "Dry run"
    found = f"{preview.new:,} new, {preview.changed:,} changed, {preview.unchanged:,} unchanged{unreadable}"
    yield f"{opening}: {found}. Nothing was written."


def _verdict(counts: dict[str, int], state: str) -> str:
    """What became of every run that was found, leaving out what did not occur."""
    parts = [
        f"{counts['persisted']:,} persisted",
        f"{counts['unchanged']:,} unchanged" if counts["unchanged"] else "",
        f"{counts['failed']:,} failed{_locked(counts)}" if counts["failed"] else "",
        f"{counts['not_attempted']:,} not attempted" if counts["not_attempted"] else "",
        f"{counts['superseded']:,} superseded by a later line" if counts["superseded"] else "",
        f"{counts['filtered']:,} filtered out" if counts["filtered"] else "",
        f"{counts['invalid']:,} invalid" if counts["invalid"] else "",
        f"{counts['other_shards']:,} left to other shards" if counts["other_shards"] else "",
    ]
    return f"{_OPENINGS[state]}: {', '.join(part for part in parts if part)}."


def _locked(counts: dict[str, int]) -> str:
    locked = counts["snapshot_locked"]
    return f" ({locked:,} because {'its' if locked == 1 else 'their'} task was locked)" if locked else ""


def _what_next(counts: dict[str, int], state: str) -> str:
    if state != "finished":
        return "The same command again does what is left; what stands already is skipped."
    if counts["failed"]:
        return "Remove the cause and run the same command again; what stands already is skipped."
    if counts["invalid"]:
        return "Invalid input was left out; everything else is persisted."
    if not counts["discovered"]:
        return "No runs were found in the sources."
    return "Nothing failed."


def _causes(errors: list[dict[str, Any]], omitted: int) -> Iterator[str]:
    """The most frequent causes of failure, each with one example."""
    for cause in errors[:SHOWN_CAUSES]:
        sample = cause["samples"][0]
        run = f" ({sample['task_id']}/{sample['run_id']})" if sample["task_id"] else ""
        detail = f": {sample['detail']}" if sample["detail"] else ""
        place = f"{sample['source']}:{sample['line']}"
        yield f"{cause['count']:,} x {cause['stage']}: {cause['message']}, e.g. {place}{run}{detail}"
    further = len(errors[SHOWN_CAUSES:]) + omitted
    if further:
        yield f"... and {number(further, 'more cause')}"


def number(count: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def span(seconds: float) -> str:
    """A time span as a person would say it: no more exact than it helps."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
