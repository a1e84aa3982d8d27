"""Stamps of outputs: those that the catalogue gives a batch, and those that the batch leaves for the next."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from .columns import adopt, memory
from .stamps import NO_STAMP

if TYPE_CHECKING:
    import pyarrow as pa

    from .outcomes import OutcomeBuilder

STAMPS = ("manifest_stamp", "snapshot_stamp")


def with_known_stamps(rows: pa.Table, stamps: pa.Table) -> pa.Table:
    """A plan's rows with the stamps that are known of them; ``rows`` has the number of each in ``stamps``."""
    known = rows["known"].combine_chunks()
    for name in STAMPS:
        rows = rows.append_column(name, _taken(stamps[name].combine_chunks(), known))
    return rows


def new_stamps(
    rows: pa.Table, outcomes: OutcomeBuilder, known: pa.Array | None, stamps: pa.Table | None, index_rows: int
) -> pa.Table:
    """The stamps of all rows of the index, in its order, after a batch has settled ``rows`` of its plan.

    ``known``: the number of each row of the index in ``stamps``, those that were known before.
    They stay where a row has no new one: they are true still, if they are of any use or not.
    """
    import pyarrow as pa

    place = array("i", [-1]) * index_rows
    for number, row in enumerate(memory(rows["row"].combine_chunks(), "i")):
        place[row] = number
    places = _nullable(place)
    columns = {}
    for name, found in zip(STAMPS, (outcomes.manifest_stamps(), outcomes.snapshot_stamps()), strict=True):
        column = _taken(found, places)
        if known is not None and stamps is not None:
            column = _first_known(column, _taken(stamps[name].combine_chunks(), known))
        columns[name] = column
    return pa.table(columns)


def _taken(stamps: pa.Array, numbers: pa.Array) -> pa.Array:
    """``stamps`` by their numbers; NO_STAMP where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.fill_null(stamps.take(numbers), pa.scalar(NO_STAMP, stamps.type))


def _first_known(first: pa.Array, second: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(first, pa.scalar(NO_STAMP, first.type)), second, first)


def _nullable(numbers: array[int]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = adopt(numbers, pa.int32())
    return pc.if_else(pc.less(column, 0), pa.scalar(None, pa.int32()), column)
