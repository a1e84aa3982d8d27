"""How long runs took, counted against bounds: the shape of a distribution at any number of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

SERIES = ("snapshot", "manifest", "pair", "sum")
ATTEMPTED = ("persisted", "unchanged", "failed")
COLUMNS = ("status", "snapshot_seconds", "manifest_seconds", "pair_seconds")
"""Of the outcome table (docs/metrics.md): those that are needed here."""


class Distribution:
    """Counts the attempted runs of an outcome table that took at most as long as each bound.

    ``bounds``: seconds, ascending. Takes the table in pieces; what it holds does not grow with them.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = {name: [0] * len(bounds) for name in SERIES}
        """For each series and bound."""
        self.totals = dict.fromkeys(SERIES, 0)
        """Runs that have such a time."""
        self.seconds = dict.fromkeys(SERIES, 0.0)
        """Of all of them together."""

    def add(self, rows: pa.Table) -> None:
        """Take in rows of the outcome table: those of ``COLUMNS``."""
        import pyarrow as pa
        import pyarrow.compute as pc

        status = rows["status"].cast(pa.string())
        rows = rows.filter(pc.is_in(status, value_set=pa.array(ATTEMPTED)))
        sides = {name: rows[f"{name}_seconds"] for name in SERIES[:3]}
        sides["sum"] = pc.add(*(pc.fill_null(sides[name], 0.0) for name in SERIES[:2]))
        for name, values in sides.items():
            self._count(name, values)

    def _count(self, name: str, values: Any) -> None:
        import pyarrow.compute as pc

        self.totals[name] += len(values) - values.null_count
        self.seconds[name] += pc.sum(values).as_py() or 0.0
        counts = self.counts[name]
        for place, bound in enumerate(self.bounds):
            counts[place] += pc.sum(pc.less_equal(values, bound)).as_py() or 0
