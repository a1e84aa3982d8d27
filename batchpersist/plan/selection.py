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
    """The selected rows of an index with the column ``row``; and the rows whose selection cannot be decided.

    The latter are of selected tasks, but the selection is by time, and theirs cannot be read.
    """
    if selection.tasks:
        rows = of_tasks(rows, lambda task: any(fnmatchcase(task, glob) for glob in selection.tasks))
    timeless = rows.slice(0, 0)
    if selection.since is not None or selection.until is not None:
        rows, timeless = _split_by_time(rows, selection)
    if selection.limit is not None and selection.limit < rows.num_rows:
        rows = rows.slice(0, selection.limit)
        timeless = _before_last(timeless, rows)
    return rows, timeless


def of_tasks(rows: pa.Table, wanted: Callable[[str], bool]) -> pa.Table:
    """The rows of those tasks."""
    import pyarrow.compute as pc

    column = rows["task_id"].cast("string")
    return rows.filter(_contains(column, list(filter(wanted, pc.unique(column).to_pylist()))))


def reject_timeless(rows: pa.Table) -> list[Reject]:
    """The rejects for rows whose time cannot be read."""
    picked = rows.select(["origin", "file", "line", "timestamp"]).to_pylist()
    return [reject_row(row, _timeless_error(row["timestamp"])) for row in picked]


def reject_row(row: Mapping[str, Any], error: ItemError) -> Reject:
    """The reject for a row of an index, with its ``origin``, ``file`` and ``line``."""
    name = SourceFile.decode(row["origin"], row["file"]).name
    return Reject(name, row["line"], failure_of(error))


def _timeless_error(timestamp: str) -> InvalidRunError:
    return InvalidRunError(
        "its time cannot be read, so --since and --until cannot select it; without them it is persisted",
        ascii(timestamp),
    )


def _split_by_time(rows: pa.Table, selection: Selection) -> tuple[pa.Table, pa.Table]:
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


def _before_last(timeless: pa.Table, rows: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    last = rows["row"][-1] if rows.num_rows else -1
    return timeless.filter(pc.less(timeless["row"], last))


def _contains(column: pa.ChunkedArray, values: Sequence[str]) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_in(column, value_set=pa.array(values, pa.string()))
