"""What the metrics of a batch tell: the part of a report that is there without the tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..figures.schema import Counts, Metrics, State, Task
from .document import BatchDocument, Level, Verdict
from .sentences import incomplete, outcome, skipped, what_next

SLOWEST = 15
"""Tasks that are listed for their time."""


def from_metrics(metrics: Metrics) -> BatchDocument:
    """The document without what only tables know."""
    document = BatchDocument(
        batch_id=metrics.batch_id,
        state=metrics.state,
        verdict=verdict(metrics.counts, metrics.state, {cause.type for cause in metrics.errors}),
        parts=metrics.parts,
        started_at=metrics.started_at,
        finished_at=metrics.finished_at,
        version=metrics.version,
        config=metrics.config,
        counts=metrics.counts,
        passed_over=metrics.passed_over,
        unknown_suffixes=metrics.unknown_suffixes,
        bytes=metrics.bytes,
        timing=metrics.timing,
        errors=metrics.errors,
        errors_omitted=metrics.errors_omitted,
        notes=[
            *filter(None, (incomplete(metrics.passed_over.incomplete), skipped(metrics.unknown_suffixes)))
        ],
    )
    give_tasks(document, metrics.tasks, metrics.tasks_omitted)
    return document


def give_tasks(document: BatchDocument, tasks: Sequence[Task], omitted: int) -> None:
    """Those whose snapshots took longest, the slowest first."""
    timed = [task for task in tasks if task.timing.commit_seconds is not None]
    document.slowest_tasks = sorted(timed, key=_commit_seconds, reverse=True)[:SLOWEST]
    document.tasks = len(tasks) + omitted


def _commit_seconds(task: Task) -> float:
    return task.timing.commit_seconds or 0.0


def went_well(metrics: Metrics) -> bool:
    """Whether the batch ended with exit code 0, as far as its metrics tell."""
    return metrics.state == "finished" and not metrics.has_failures


def verdict(counts: Counts, state: State, causes: Collection[str] = ()) -> Verdict:
    """In the words with which the batch itself ended."""
    level: Level = "good" if state == "finished" else "warning"
    if counts.failed:
        level = "bad"
    elif counts.invalid or not (counts.selected or counts.other_shards):
        level = "warning"
    return Verdict(level, outcome(counts, state), what_next(counts, state, causes))
