"""The runs that failed and the lines that are none, as rows: so many as a person would go through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal

from .document import FailedRun, SideFailure

if TYPE_CHECKING:
    import pyarrow as pa

LISTED = 1_000
"""The outcome table and ``rejects.parquet`` have all of them."""

SIDES: tuple[Literal["snapshot"], Literal["manifest"]] = ("snapshot", "manifest")
_PARTS = ("type", "message", "detail")
COLUMNS = (
    *("status", "task_id", "run_id", "source", "line"),
    *(f"{side}_error_{part}" for side in SIDES for part in _PARTS),
)
"""Of the outcome table (docs/metrics.md): those that are needed here."""


class FailedRuns:
    """Collects the first failed runs of an outcome table that comes in pieces, and counts the others."""

    def __init__(self) -> None:
        self._listed: list[FailedRun] = []
        self.count = 0

    def add(self, rows: pa.Table) -> None:
        """Take in rows of the outcome table: those of ``COLUMNS``."""
        import pyarrow as pa
        import pyarrow.compute as pc

        failed = rows.filter(pc.equal(rows["status"].cast(pa.string()), "failed"))
        self.count += failed.num_rows
        wanted = failed.slice(0, LISTED - len(self._listed))
        self._listed += map(_failed_run, wanted.to_pylist())

    def listed(self, rejects: pa.Table | None) -> tuple[list[FailedRun], int]:
        """So many as are listed, the invalid lines (``rejects.parquet``) last; and how many are left out."""
        invalid: Iterable[FailedRun] = () if rejects is None else _invalid(rejects)
        listed = list(islice(chain(self._listed, invalid), LISTED))
        count = self.count + (0 if rejects is None else rejects.num_rows)
        return listed, count - len(listed)


def _failed_run(row: dict[str, Any]) -> FailedRun:
    failures = [
        SideFailure(side, *(row[f"{side}_error_{part}"] for part in _PARTS))
        for side in SIDES
        if row[f"{side}_error_type"] is not None
    ]
    return FailedRun(row["task_id"], row["run_id"], row["source"], row["line"], failures)


def _invalid(rejects: pa.Table) -> Iterator[FailedRun]:
    for row in rejects.slice(0, LISTED).to_pylist():
        failure = SideFailure("input", *(row[part] for part in _PARTS))
        yield FailedRun(None, None, row["source"], row["line"], [failure])
