"""An outcome table that is all there is of a batch: what it can tell without the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..figures.aggregate import by_cause, by_task, count
from ..figures.outcomes import read_outcomes
from .document import BatchDocument
from .ended import give_tasks, verdict

if TYPE_CHECKING:
    import pyarrow as pa


def from_table(path: str) -> BatchDocument:
    """Raises UsageError where the file is no outcome table, OSError."""
    table = read_outcomes(path)
    counts = count(table, discovered=table.num_rows, invalid=0, filtered=0)
    errors, errors_omitted = by_cause(table, [])
    tasks, tasks_omitted = by_task(table, _commit_seconds(table))
    document = BatchDocument(
        batch_id=None,
        state="unknown",
        verdict=verdict(counts, "finished"),
        counts=counts,
        errors=errors,
        errors_omitted=errors_omitted,
        notes=["Only the outcome table is there: invalid lines, and how the batch ended, it does not tell."],
    )
    give_tasks(document, tasks, tasks_omitted)
    return document


def _commit_seconds(table: pa.Table) -> dict[str, float]:
    """By task: of the commit that took longest."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = table.select(["task_id", "snapshot_seconds"]).filter(pc.is_valid(table["snapshot_seconds"]))
    longest = rows.group_by("task_id", use_threads=False).aggregate([("snapshot_seconds", "max")])
    tasks = longest["task_id"].cast(pa.string()).to_pylist()
    return dict(zip(tasks, longest["snapshot_seconds_max"].to_pylist(), strict=True))
