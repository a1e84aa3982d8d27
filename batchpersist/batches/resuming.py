"""What an earlier part of a batch had settled, by its journal, and what that spares the next part.

The journal is believed only as far as it is seen to be true: a run counts as standing where its
text has the journaled digest, and its files the journaled stamps (``stamps``). Everything
else is compared and written as ever.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..columns import KEY_GLUE, adopt, adopt_pieces, run_keys, where, whole
from ..models import Failure, Side
from ..planning.job import DIGEST, QUARANTINED
from ..settling.journal import DIGEST_BYTES, QuarantineEntry, ShardEntry, read_journal
from ..stamps import NO_STAMP, STAMP_BYTES

if TYPE_CHECKING:
    import pyarrow as pa

_SIDES = ("snapshot", "manifest")


@dataclass
class _SideEntries:
    """What was journaled of one side, run by run; of a run that comes again the last one counts."""

    keys: list[pa.Array] = field(default_factory=list)
    """A piece a shard: Arrow's strings take a fraction of the memory of Python's."""
    digests: bytearray = field(default_factory=bytearray)
    states: array[int] = field(default_factory=lambda: array("b"))
    stamps: bytearray = field(default_factory=bytearray)

    def add(self, runs: list[tuple[str, bytes, Side, bytes]]) -> None:
        """Take in a shard's: key, digest, state and stamp of each."""
        import pyarrow as pa

        standing = [run for run in runs if run[2] in (Side.PERSISTED, Side.UNCHANGED)]
        self.keys.append(pa.array([key for key, *_ in standing], pa.string()))
        for _, digest, state, stamp in standing:
            self.digests += digest
            self.states.append(state)
            self.stamps += stamp or NO_STAMP

    def table(self) -> pa.Table:
        """The last entries first, for a search finds the first."""
        import pyarrow as pa

        columns = {
            "key": pa.chunked_array(self.keys, pa.string()),
            "digest": adopt_pieces(self.digests, DIGEST_BYTES),
            "state": adopt(self.states, pa.int8()),
            "stamp": adopt_pieces(self.stamps, STAMP_BYTES),
        }
        table = pa.table(columns)
        return table.take(pa.array(range(table.num_rows - 1, -1, -1), pa.int64())).combine_chunks()


@dataclass(frozen=True)
class SettledBefore:
    """The runs of a journal."""

    sides: dict[str, pa.Table]
    """By side: key, digest, state (``Side``) and stamp."""
    quarantined: dict[str, Failure]
    """By key and timestamp: the runs that killed their workers, but not other versions of them."""

    def mark(self, rows: pa.Table, *, trusted: bool) -> pa.Table:
        """A plan's rows with what is known of them, for the workers to see whether it is so.

        ``trusted=False``: only which of them are quarantined. Rows that the catalogue knows already
        keep what it says; a superseded row is never known.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        keys = run_keys(rows)
        if trusted:
            rows = self._with_stamps(rows, keys)
        if self.quarantined:
            versions = pc.binary_join_element_wise(keys, whole(rows["timestamp"]), KEY_GLUE)
            marked = pc.is_in(versions, value_set=pa.array(self.quarantined, pa.string()))
            rows = rows.append_column(QUARANTINED, marked)
        return rows

    def _with_stamps(self, rows: pa.Table, keys: pa.Array) -> pa.Table:
        import pyarrow.compute as pc

        places = {side: self._places(side, keys) for side in _SIDES}
        digests = [self._taken(side, "digest", place) for side, place in places.items()]
        unknown = pc.or_(whole(rows["superseded"]), pc.fill_null(pc.not_equal(*digests), False))
        if "known" in rows.column_names:
            unknown = pc.or_(unknown, pc.is_valid(whole(rows["known"])))
        known = pc.invert(unknown)
        rows = rows.append_column(DIGEST, where(known, pc.coalesce(*digests)))
        for side, place in places.items():
            rows = _with_column(rows, f"{side}_stamp", self._taken(side, "stamp", where(known, place)))
        return rows

    def states(self, rows: pa.Table) -> dict[str, pa.Array]:
        """By side: how each row had settled (``Side`` values), NOT_ATTEMPTED where nothing says so."""
        import pyarrow as pa
        import pyarrow.compute as pc

        keys, blank = run_keys(rows), pa.scalar(Side.NOT_ATTEMPTED.value, pa.int8())
        found = {side: self._taken(side, "state", self._places(side, keys)) for side in _SIDES}
        replaced = whole(rows["superseded"])
        return {
            side: pc.if_else(replaced, blank, pc.fill_null(states, blank)) for side, states in found.items()
        }

    def both(self, rows: pa.Table) -> pa.Array:
        """Of each row, whether it had settled on both sides."""
        import pyarrow.compute as pc

        sides = [pc.not_equal(states, Side.NOT_ATTEMPTED.value) for states in self.states(rows).values()]
        return pc.and_(*sides)

    def count(self, rows: pa.Table) -> int:
        """How many rows had settled on both sides."""
        return int(self.both(rows).true_count)

    def _places(self, side: str, keys: pa.Array) -> pa.Array:
        import pyarrow.compute as pc

        return pc.index_in(keys, value_set=whole(self.sides[side]["key"]))

    def _taken(self, side: str, column: str, places: pa.Array) -> pa.Array:
        return whole(self.sides[side][column]).take(places)


def settled_before(journal: str) -> SettledBefore:
    """Read a journal; one that is missing names no runs. Raises OSError."""
    sides = {side: _SideEntries() for side in _SIDES}
    quarantined: dict[str, Failure] = {}
    for entry in read_journal(journal) if os.path.exists(journal) else ():
        if isinstance(entry, QuarantineEntry):
            version = (entry.task_id, entry.run_id, entry.timestamp)
            quarantined[KEY_GLUE.join(version)] = entry.failure
        else:
            _add_shard(sides, entry)
    return SettledBefore({side: entries.table() for side, entries in sides.items()}, quarantined)


def _add_shard(sides: dict[str, _SideEntries], entry: ShardEntry) -> None:
    runs = [
        (KEY_GLUE.join((task.task_id, run.run_id)), run, task) for task in entry.tasks for run in task.runs
    ]
    sides["snapshot"].add([(key, run.digest, run.snapshot, task.snapshot_stamp) for key, run, task in runs])
    sides["manifest"].add([(key, run.digest, run.manifest, run.manifest_stamp) for key, run, _ in runs])


def _with_column(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """The values added to a column that may be there already, and has nulls where they are to stand."""
    import pyarrow.compute as pc

    if name not in rows.column_names:
        return rows.append_column(name, values)
    before = whole(rows[name].cast(values.type))
    return rows.set_column(rows.column_names.index(name), name, pc.coalesce(before, values))
