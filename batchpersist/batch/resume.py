"""What an interrupted batch persisted, by its journal, and which runs are quarantined.

The journal is not trusted about files, so a resumed batch skips nothing because of it: each file is
compared, or known from the cache. A run that is unchanged now and was written before counts as it did then.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..arrow_tables import KEY_GLUE, adopt, as_array, run_keys, with_columns
from ..models import Failure, Side
from ..records.journal import QuarantineEntry, ShardEntry, read_journal

if TYPE_CHECKING:
    import pyarrow as pa

_SIDES = ("snapshot", "manifest")
_EXISTING = (Side.PERSISTED, Side.UNCHANGED)


@dataclass
class _SideEntries:
    """What was journaled of one side, run by run; of a run that comes again the last one counts."""

    keys: list[pa.Array] = field(default_factory=list)
    """An array a shard: Arrow's strings take a fraction of the memory of Python's."""
    states: array[int] = field(default_factory=lambda: array("b"))

    def add(self, runs: list[tuple[str, Side]]) -> None:
        """Take in a shard's: key and state of each."""
        import pyarrow as pa

        existing = [run for run in runs if run[1] in _EXISTING]
        self.keys.append(pa.array([key for key, _ in existing], pa.string()))
        self.states.extend(state for _, state in existing)

    def table(self) -> pa.Table:
        """The last entries first, for a search finds the first."""
        import pyarrow as pa

        keys = pa.chunked_array(self.keys, pa.string())
        table = pa.table({"key": keys, "state": adopt(self.states, pa.int8())})
        return table.take(pa.array(range(table.num_rows - 1, -1, -1), pa.int64())).combine_chunks()


@dataclass(frozen=True)
class JournaledRuns:
    """The runs of a journal."""

    sides: dict[str, pa.Table]
    """By side: key and state (``Side``)."""
    quarantined: dict[str, Failure]
    """By key and timestamp: the runs that killed their workers, but not other versions of them."""

    def mark_quarantined(self, rows: pa.Table) -> pa.Table:
        """A plan's rows, with those marked that the workers do not retry."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self.quarantined:
            return rows
        versions = pc.binary_join_element_wise(run_keys(rows), as_array(rows["timestamp"]), KEY_GLUE)
        marked = pc.is_in(versions, value_set=pa.array(self.quarantined, pa.string()))
        return with_columns(rows, {"quarantined": marked})

    def states(self, rows: pa.Table) -> dict[str, pa.Array]:
        """By side: each row's outcome (``Side`` values) in the journal; NOT_ATTEMPTED where it has none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        keys, blank = run_keys(rows), pa.scalar(Side.NOT_ATTEMPTED.value, pa.int8())
        found = {side: self._states(side, keys) for side in _SIDES}
        replaced = as_array(rows["superseded"])
        return {
            side: pc.if_else(replaced, blank, pc.fill_null(states, blank)) for side, states in found.items()
        }

    def _states(self, side: str, keys: pa.Array) -> pa.Array:
        import pyarrow.compute as pc

        numbers = pc.index_in(keys, value_set=as_array(self.sides[side]["key"]))
        return as_array(self.sides[side]["state"]).take(numbers)

    def settled(self, rows: pa.Table) -> pa.Array:
        """Of each row, whether the journal has both sides of its pair."""
        import pyarrow.compute as pc

        sides = [pc.not_equal(states, Side.NOT_ATTEMPTED.value) for states in self.states(rows).values()]
        return pc.and_(*sides)

    def count_settled(self, rows: pa.Table) -> int:
        """Of how many rows the journal has both sides."""
        return int(self.settled(rows).true_count)


def read_journaled_runs(journal: str) -> JournaledRuns:
    """Read a journal; one that is missing names no runs. Raises OSError."""
    sides = {side: _SideEntries() for side in _SIDES}
    quarantined: dict[str, Failure] = {}
    for entry in read_journal(journal) if os.path.exists(journal) else ():
        if isinstance(entry, QuarantineEntry):
            version = (entry.task_id, entry.run_id, entry.timestamp)
            quarantined[KEY_GLUE.join(version)] = entry.failure
        else:
            _add_shard(sides, entry)
    return JournaledRuns({side: entries.table() for side, entries in sides.items()}, quarantined)


def _add_shard(sides: dict[str, _SideEntries], entry: ShardEntry) -> None:
    runs = [(KEY_GLUE.join((task.task_id, run.run_id)), run) for task in entry.tasks for run in task.runs]
    sides["snapshot"].add([(key, run.snapshot) for key, run in runs])
    sides["manifest"].add([(key, run.manifest) for key, run in runs])
