"""A shard on its way to a worker: its rows as an Arrow IPC stream, read in place over there.

Serialising a slice of the plan costs the parent a fraction of what building an object a
row would, and the parent is what all workers wait for. The worker keeps them in columns, too: a
hot task's snapshot shard has as many rows as the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from ..arrow_tables import compact, memory, whole
from ..contract.entry_order import RunIdsAndTimes
from ..models import RunKeys, Shard, Work
from ..sources import SourceFile, decoded
from ..storage.fingerprint import FINGERPRINT_BYTES, NO_FINGERPRINT

if TYPE_CHECKING:
    import pyarrow as pa

_REPEATED = ("task_id", "origin", "file")
_FINGERPRINTS = ("manifest_fingerprint", "snapshot_fingerprint")

QUARANTINED = "quarantined"
"""Column: its worker did not survive the run before; it is not to be tried again."""

_WANTED = (
    *("task_id", "run_id", "timestamp", "origin", "file", "offset", "length", "superseded"),
    *(*_FINGERPRINTS, QUARANTINED),
)
"""What a worker has to know of a row."""

_UNWANTED = {Work.SNAPSHOT: "manifest_fingerprint", Work.MANIFEST: "snapshot_fingerprint"}
"""What is the other side's: a hot task's snapshot shard is large enough to be waited for."""


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


class ShardRows:
    """Rows of a plan, in columns: in plan order, by number."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.run_ids: list[str] = table["run_id"].to_pylist()
        self.timestamps: list[str] = table["timestamp"].to_pylist()
        self._task_ids, self._task = _repeated(whole(table["task_id"]))
        self._origins, self._origin = _repeated(whole(table["origin"]))
        self._below, self._file = _repeated(whole(table["file"]))
        self._files: dict[tuple[int, int], SourceFile] = {}
        self._offsets, self._lengths = (memory(whole(table[name]), "q") for name in ("offset", "length"))
        self._superseded = memory(whole(table["superseded"]).cast("int8"), "b")
        self._manifests, self._snapshots = (_fingerprints(table, name) for name in _FINGERPRINTS)

    def __len__(self) -> int:
        return len(self.run_ids)

    def tasks(self, rows: range) -> Iterator[tuple[str, range]]:
        """The tasks of some rows, each with its own."""
        start = rows.start
        for number, group in groupby(self._task[start : rows.stop]):
            stop = start + sum(1 for _ in group)
            yield self._task_ids[number], range(start, stop)
            start = stop

    def keys(self, row: int) -> RunKeys:
        """What identifies and orders a row."""
        return RunKeys(self._task_ids[self._task[row]], self.run_ids[row], self.timestamps[row])

    def place(self, row: int) -> tuple[SourceFile, int, int]:
        """Where the run's bytes are: the file (of one that has a copy, there), offset, length."""
        key = origin, file = self._origin[row], self._file[row]
        if key not in self._files:
            self._files[key] = decoded(self._origins[origin], self._below[file])
        return self._files[key], self._offsets[row], self._lengths[row]

    def recorded(self, rows: Iterable[int]) -> RunIdsAndTimes:
        """What orders some rows within their task."""
        return [self.run_ids[row] for row in rows], [self.timestamps[row] for row in rows]

    def superseded(self, row: int) -> bool:
        """The same run comes again later in this batch: its snapshot effect counts, its outcome does not."""
        return bool(self._superseded[row])

    def has_superseded(self, rows: range) -> bool:
        return any(self._superseded[rows.start : rows.stop])

    def manifest_fingerprints(self, rows: range) -> list[bytes]:
        """Of each row, that of a manifest which is known to hold the run's text, or NO_FINGERPRINT."""
        if not self._manifests:
            return [NO_FINGERPRINT] * len(rows)
        places = range(rows.start * FINGERPRINT_BYTES, rows.stop * FINGERPRINT_BYTES, FINGERPRINT_BYTES)
        return [self._manifests[place : place + FINGERPRINT_BYTES] for place in places]

    def snapshot_fingerprints(self, rows: range) -> bytes:
        """Those of all the rows, one after the other; empty where there are none at all.

        Each is that of a snapshot which is known to hold the run's entry, and to be regular
        (``snapshots.merge.is_regular``).
        """
        return self._snapshots[rows.start * FINGERPRINT_BYTES : rows.stop * FINGERPRINT_BYTES]

    def quarantined(self) -> frozenset[int]:
        if QUARANTINED not in self._table.column_names:
            return frozenset()
        return frozenset(row for row, marked in enumerate(self._table[QUARANTINED].to_pylist()) if marked)


def make_job(rows: pa.Table, shard: Shard, *, sweep: bool = False) -> ShardJob:
    """Cut a shard's rows out of the plan's."""
    import pyarrow as pa

    part = rows.slice(shard.start, shard.stop - shard.start)
    unwanted = _UNWANTED.get(shard.work)
    part = part.select([name for name in _WANTED if name in part.column_names and name != unwanted])
    for name in _REPEATED:  # the plan's dictionaries name every task and file of the batch
        part = part.set_column(part.schema.get_field_index(name), name, compact(whole(part[name])))
    for name in _FINGERPRINTS:
        if name in part.column_names:
            kind = pa.binary(FINGERPRINT_BYTES)
            column = part[name].cast(kind).fill_null(pa.scalar(NO_FINGERPRINT, kind))
            part = part.set_column(part.schema.get_field_index(name), name, column)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, part.schema) as writer:
        writer.write_table(part.combine_chunks())
    return ShardJob(shard, sink.getvalue().to_pybytes(), sweep)


def _repeated(column: pa.DictionaryArray) -> tuple[list[Any], memoryview[int]]:
    """A column's different values, and the number of each row's."""
    return column.dictionary.to_pylist(), memory(column.indices, "i")


def _fingerprints(table: pa.Table, name: str) -> bytes:
    """All of a column, one after the other; empty where there is none."""
    if name not in table.column_names:
        return b""
    return memory(whole(table[name]), "B", FINGERPRINT_BYTES).tobytes()
