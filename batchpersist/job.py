"""A shard on its way to a worker: its rows as one Arrow IPC stream, decoded over there.

Serialising a slice of the plan costs the parent a fraction of what building an object a
row would, and the parent is what all workers wait for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from .models import RunRef, Shard

if TYPE_CHECKING:
    import pyarrow as pa

_REPEATED = ("task_id", "path", "source")


class ShardJob(NamedTuple):
    """A shard and its rows; picklable whatever the number of rows."""

    shard: Shard
    stream: bytes

    def refs(self) -> list[RunRef]:
        """The shard's rows, in plan order; equal task ids and paths share one string."""
        import pyarrow as pa

        table = pa.ipc.open_stream(self.stream).read_all()
        return list(map(RunRef, *(_values(table[name]) for name in RunRef._fields)))


def make_job(rows: pa.Table, shard: Shard) -> ShardJob:
    """Cut a shard's rows out of the plan's."""
    import pyarrow as pa

    part = rows.slice(shard.start, shard.stop - shard.start)
    for name in _REPEATED:  # the plan's dictionaries name every task and file of the batch
        column = part[name].cast(part[name].type.value_type).combine_chunks().dictionary_encode()
        part = part.set_column(part.schema.get_field_index(name), name, column)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, part.schema) as writer:
        writer.write_table(part)
    return ShardJob(shard, sink.getvalue().to_pybytes())


def _values(column: pa.ChunkedArray) -> list[object]:
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        return column.to_pylist()  # type: ignore[no-any-return]
    array = column.combine_chunks()
    values = array.dictionary.to_pylist()
    if pa.types.is_binary(array.dictionary.type):
        values = [os.fsdecode(value) for value in values]
    return [values[index] for index in array.indices.to_pylist()]
