"""A shard on its way to a worker: its rows as one Arrow IPC stream, read in place over there.

Serialising a slice of the plan costs the parent a fraction of what building an object a
row would, and the parent is what all workers wait for. The worker builds a row's object only
when it is asked for: a hot task's snapshot shard has as many rows as the batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from .columns import memory, whole
from .models import RunKeys, RunRef, Shard
from .stamps import NO_STAMP, STAMP_BYTES

if TYPE_CHECKING:
    import pyarrow as pa

_REPEATED = ("task_id", "path", "source")
_STAMPS = ("manifest_stamp", "snapshot_stamp")

DIGEST = "digest"
"""Column: the stamps of a row hold for a text of this digest (``journal``). Null: for the row as it is."""
QUARANTINED = "quarantined"
"""Column: its worker did not survive the run before; it is not to be tried again."""


class ShardJob(NamedTuple):
    """A shard and its rows; picklable whatever the number of rows."""

    shard: Shard
    stream: bytes
    sweep: bool = False
    """A process died with this in hand: what it left is to be removed."""

    def refs(self) -> ShardRows:
        """The shard's rows, in plan order."""
        import pyarrow as pa

        return ShardRows(pa.ipc.open_stream(self.stream).read_all())


class ShardRows(Sequence[RunRef]):
    """Rows of a plan. A row is made when it is asked for, and can be asked for one of its columns alone."""

    def __init__(self, table: pa.Table) -> None:
        self._rows: int = table.num_rows
        columns = {name: _reader(table, name) for name in RunRef._fields}
        self._columns = list(columns.values())
        self.task_id: Callable[[int], str] = columns["task_id"]
        self.run_id: Callable[[int], str] = columns["run_id"]
        self.timestamp: Callable[[int], str] = columns["timestamp"]
        self.superseded: Callable[[int], bool] = columns["superseded"]
        self.manifest_stamp: Callable[[int], bytes] = columns["manifest_stamp"]
        self.snapshot_stamp: Callable[[int], bytes] = columns["snapshot_stamp"]
        self._table = table
        self._tasks = memory(whole(table["task_id"]).indices, "i")
        self._superseded = memory(whole(table["superseded"]).cast("int8"), "b")
        stamps = table["snapshot_stamp"] if "snapshot_stamp" in table.column_names else None
        self._snapshot_stamps = memory(whole(stamps), "B", STAMP_BYTES) if stamps else None

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, row: int) -> RunRef: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[RunRef]: ...
    def __getitem__(self, row: int | slice) -> RunRef | Sequence[RunRef]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(self._rows))]
        if not 0 <= row < self._rows:
            raise IndexError(row)
        return RunRef(*[column(row) for column in self._columns])

    def tasks(self, rows: range) -> Iterator[tuple[str, range]]:
        """The tasks of some rows, each with its own."""
        start = rows.start
        for _, group in groupby(self._tasks[start : rows.stop]):
            stop = start + sum(1 for _ in group)
            yield self.task_id(start), range(start, stop)
            start = stop

    def digests(self) -> Sequence[bytes | None]:
        """Of each row, the digest of the text for which its stamps hold; empty where there are none."""
        return self._values(DIGEST)

    def quarantined(self) -> frozenset[int]:
        return frozenset(row for row, marked in enumerate(self._values(QUARANTINED)) if marked)

    def _values(self, name: str) -> Sequence[Any]:
        values: Sequence[Any] = self._table[name].to_pylist() if name in self._table.column_names else ()
        return values

    def without_stamps(self, rows: set[int]) -> ShardRows:
        """The same rows, of some of which nothing is known."""
        import pyarrow as pa
        import pyarrow.compute as pc

        table, forgotten = self._table, pa.array([row in rows for row in range(len(self))], pa.bool_())
        for name in _STAMPS:
            stamps = whole(table[name])
            stamps = pc.if_else(forgotten, pa.scalar(NO_STAMP, stamps.type), stamps)
            table = table.set_column(table.column_names.index(name), name, stamps)
        return ShardRows(table)

    def has_superseded(self, rows: range) -> bool:
        return any(self._superseded[rows.start : rows.stop])

    def snapshot_stamps(self, rows: range) -> bytes:
        """Those of all the rows, one after the other; empty where there are none at all."""
        stamps = self._snapshot_stamps
        return bytes(stamps[rows.start * STAMP_BYTES : rows.stop * STAMP_BYTES]) if stamps else b""

    def keys(self, row: int) -> RunKeys:
        """What identifies and orders a row."""
        return RunKeys(self.task_id(row), self.run_id(row), self.timestamp(row))


def make_job(rows: pa.Table, shard: Shard, *, sweep: bool = False) -> ShardJob:
    """Cut a shard's rows out of the plan's."""
    import pyarrow as pa

    part = rows.slice(shard.start, shard.stop - shard.start)
    wanted = (*RunRef._fields, DIGEST, QUARANTINED)
    part = part.select([name for name in wanted if name in part.column_names])
    for name in _REPEATED:  # the plan's dictionaries name every task and file of the batch
        column = part[name].cast(part[name].type.value_type).combine_chunks().dictionary_encode()
        part = part.set_column(part.schema.get_field_index(name), name, column)
    for name in _STAMPS:
        if name in part.column_names:
            kind = pa.binary(STAMP_BYTES)
            column = part[name].cast(kind).fill_null(pa.scalar(NO_STAMP, kind))
            part = part.set_column(part.schema.get_field_index(name), name, column)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, part.schema) as writer:
        writer.write_table(part.combine_chunks())
    return ShardJob(shard, sink.getvalue().to_pybytes(), sweep)


def _reader(table: pa.Table, name: str) -> Callable[[int], Any]:
    """Row number -> a column's value."""
    import pyarrow as pa

    if name not in table.column_names:
        return lambda _row: NO_STAMP
    column = whole(table[name])
    if pa.types.is_dictionary(column.type):
        values, number = _repeated(column.dictionary), memory(column.indices, "i")
        return lambda row: values[number[row]]
    if pa.types.is_string(column.type):
        return _string_reader(column)
    if pa.types.is_fixed_size_binary(column.type):
        stamps = memory(column, "B", STAMP_BYTES)
        return lambda row: bytes(stamps[row * STAMP_BYTES : (row + 1) * STAMP_BYTES])
    if pa.types.is_boolean(column.type):
        flags = memory(column.cast(pa.int8()), "b")
        return lambda row: bool(flags[row])
    return memory(column, "q").__getitem__


def _string_reader(column: pa.StringArray) -> Callable[[int], str]:
    _, places, data = column.buffers()
    text = memoryview(data or b"")
    ends = memoryview(places or bytes(4)).cast("i")[column.offset :]
    return lambda row: str(text[ends[row] : ends[row + 1]], "utf-8")


def _repeated(values: pa.Array) -> list[str]:
    return [os.fsdecode(value) if isinstance(value, bytes) else value for value in values.to_pylist()]
