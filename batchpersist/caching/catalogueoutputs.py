"""Stamps of outputs: those that the catalogue gives a batch, and those that the batch leaves for the next."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..columns import adopt, memory, where, whole
from ..figures.outcomestamps import stamps_at
from ..stamps import NO_STAMP

if TYPE_CHECKING:
    import pyarrow as pa

    from ..figures.outcomes import OutcomeBuilder

STAMPS = ("manifest_stamp", "snapshot_stamp")

_ROWS = 1 << 16
"""Worked on at once."""


def with_known_stamps(rows: pa.Table, stamps: pa.Table) -> pa.Table:
    """A plan's rows with the stamps that are known of them; ``rows`` has the number of each in ``stamps``.

    The stamps themselves are not copied: they become the dictionaries of the new columns.
    """
    import pyarrow as pa

    known = whole(rows["known"])
    for name in STAMPS:
        column = pa.DictionaryArray.from_arrays(known, whole(stamps[name]))
        rows = rows.append_column(name, column)
    return rows


def without_known(rows: pa.Table) -> pa.Table:
    """A plan's rows as the workers need them."""
    return rows.drop_columns("known") if "known" in rows.column_names else rows


def new_stamps(
    rows: pa.Table, outcomes: OutcomeBuilder, known: pa.Array | None, stamps: pa.Table | None, index_rows: int
) -> Iterator[pa.RecordBatch]:
    """The stamps of all rows of the index, in its order, after a batch has settled ``rows`` of its plan.

    ``known``: the number of each row of the index in ``stamps``, those that were known before.
    They stay where a row has no new one: they are true still, if they are of any use or not.
    """
    import pyarrow as pa

    place = array("i", [-1]) * index_rows
    for number, row in enumerate(memory(whole(rows["row"]), "i")):
        place[row] = number
    found, states = outcomes.take_stamps(), outcomes.snapshot_states()
    for start in range(0, index_rows, _ROWS):
        places = _nullable(place[start : start + _ROWS])
        snapshots = found.of_snapshots(rows["task_id"].take(places), states.take(places))
        columns = [found.of_manifests(places), snapshots]
        if known is not None and stamps is not None:
            before = known.slice(start, _ROWS)
            columns = [
                _first_known(column, stamps_at(before, whole(stamps[name])))
                for name, column in zip(STAMPS, columns, strict=True)
            ]
        yield pa.record_batch(columns, names=list(STAMPS))


def _first_known(first: pa.Array, second: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(first, pa.scalar(NO_STAMP, first.type)), second, first)


def _nullable(numbers: array[int]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = adopt(numbers, pa.int32())
    return where(pc.greater_equal(column, 0), column)
