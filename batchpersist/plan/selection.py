"""Selects runs by task, time and number (``--task``, ``--since``, ``--until``, ``--limit``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ..errors import InvalidRunError, ItemError, failure_of
from ..models import Reject
from ..options import Selection
from ..sources import SourceFile
from ..timestamps import parse_instant

if TYPE_CHECKING:
    import pyarrow as pa


def select(rows: pa.Table, selection: Selection) -> tuple[pa.Table, pa.Table]:
    """The rows that are wanted, and those of which nobody can say, of an index with the column ``row``.

    The latter are of wanted tasks, but their times cannot be read, and times are selected.
    """
    if selection.tasks:
        rows = of_tasks(rows, lambda task: any(fnmatchcase(task, glob) for glob in selection.tasks))
    timeless = rows.slice(0, 0)
    if selection.since is not None or selection.until is not None:
        rows, timeless = _within(rows, selection)
    if selection.limit is not None and selection.limit < rows.num_rows:
        rows = rows.slice(0, selection.limit)
        timeless = _up_to(timeless, rows)
    return rows, timeless


def of_tasks(rows: pa.Table, wanted: Callable[[str], bool]) -> pa.Table:
    """The rows of those tasks."""
    import pyarrow.compute as pc

    column = rows["task_id"].cast("string")
    return rows.filter(_is_in(column, list(filter(wanted, pc.unique(column).to_pylist()))))


def timeless_rejects(rows: pa.Table) -> list[Reject]:
    """What becomes of the rows of which none can say whether they are wanted."""
    picked = rows.select(["origin", "file", "line", "timestamp"]).to_pylist()
    return [reject_row(row, _timeless(row["timestamp"])) for row in picked]


def reject_row(row: Mapping[str, Any], error: ItemError) -> Reject:
    """The reject for a row of an index, with its ``origin``, ``file`` and ``line``."""
    name = SourceFile.decode(row["origin"], row["file"]).name
    return Reject(name, row["line"], failure_of(error))


def _timeless(timestamp: str) -> InvalidRunError:
    return InvalidRunError(
        "its time cannot be read, so --since and --until cannot select it; without them it is persisted",
        ascii(timestamp),
    )


def _within(rows: pa.Table, selection: Selection) -> tuple[pa.Table, pa.Table]:
    import pyarrow as pa
    import pyarrow.compute as pc

    since = None if selection.since is None else parse_instant(selection.since)
    until = None if selection.until is None else parse_instant(selection.until)

    def is_wanted(timestamp: str) -> bool | None:
        try:
            moment = parse_instant(timestamp)
        except ValueError:
            return None
        return (since is None or moment >= since) and (until is None or moment < until)

    chunks = (chunk.to_pylist() for chunk in rows["timestamp"].chunks)
    marks = pa.chunked_array([pa.array(map(is_wanted, texts), pa.bool_()) for texts in chunks], pa.bool_())
    return rows.filter(marks), rows.filter(pc.is_null(marks))


def _up_to(timeless: pa.Table, rows: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    last = rows["row"][-1] if rows.num_rows else -1
    return timeless.filter(pc.less(timeless["row"], last))


def _is_in(column: pa.ChunkedArray, values: Sequence[str]) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_in(column, value_set=pa.array(values, pa.string()))
