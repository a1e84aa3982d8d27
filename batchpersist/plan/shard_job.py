"""A shard on its way to a worker: its rows as an Arrow IPC stream, which the worker reads in place.

Serialising a slice of the plan costs the parent a fraction of what building an object a
row would, and the parent is what all workers wait for. The worker keeps them in columns, too: a
hot task's snapshot shard has as many rows as the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from ..arrow_tables import as_array, compact, memory
from ..contract.entry_order import RunIdsAndTimes
from ..models import RunKeys, Shard, Work
from ..sources import SourceFile
from ..storage.fingerprint import FINGERPRINT_BYTES, NO_FINGERPRINT

if TYPE_CHECKING:
    import pyarrow as pa

_REPEATED = ("task_id", "origin", "file")
_WANTED = ("task_id", "run_id", "timestamp", "origin", "file", "offset", "length", "superseded")
"""What a worker has to know of every row."""


class ShardJob(NamedTuple):
    """A shard and its rows; picklable whatever the number of rows."""

    shard: Shard
    stream: bytes
    manifests: bytes
    """The fingerprint of each row's manifest, one after the other; empty if none is known, or needed."""
    snapshots: bytes
    """The same of the snapshots."""
    quarantined: frozenset[int]
    """Rows whose worker did not survive the run before: they are not retried."""
    sweep: bool
    """A process died while it did this job: what it left is to be removed."""

    def rows(self) -> ShardRows:
        """The shard's rows, in plan order."""
        import pyarrow as pa

        table = pa.ipc.open_stream(self.stream).read_all()
        return ShardRows(table, self.manifests, self.snapshots, self.quarantined)


class ShardRows:
    """Rows of a plan, in columns: in plan order, by number."""

    def __init__(
        self, table: pa.Table, manifests: bytes, snapshots: bytes, quarantined: frozenset[int]
    ) -> None:
        """As in ``ShardJob``; ``table``: the columns ``_WANTED``."""
        self.run_ids: list[str] = table["run_id"].to_pylist()
        self.timestamps: list[str] = table["timestamp"].to_pylist()
        self._task_ids, self._task = _dictionary(as_array(table["task_id"]))
        self._origins, self._origin = _dictionary(as_array(table["origin"]))
        self._below, self._file = _dictionary(as_array(table["file"]))
        self._files: dict[tuple[int, int], SourceFile] = {}
        self._offsets, self._lengths = (memory(as_array(table[name]), "q") for name in ("offset", "length"))
        self._superseded = memory(as_array(table["superseded"]).cast("int8"), "b")
        self._manifests, self._snapshots = manifests, snapshots
        self.quarantined = quarantined

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

    def location(self, row: int) -> tuple[SourceFile, int, int]:
        """Where the run's bytes are: the file, and offset and length in it (or in its copy if it has one)."""
        key = origin, file = self._origin[row], self._file[row]
        if key not in self._files:
            self._files[key] = SourceFile.decode(self._origins[origin], self._below[file])
        return self._files[key], self._offsets[row], self._lengths[row]

    def ids_and_times(self, rows: Iterable[int]) -> RunIdsAndTimes:
        """What orders some rows within their task."""
        return [self.run_ids[row] for row in rows], [self.timestamps[row] for row in rows]

    def is_superseded(self, row: int) -> bool:
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
        (``contract.entry_order.is_regular``).
        """
        return self._snapshots[rows.start * FINGERPRINT_BYTES : rows.stop * FINGERPRINT_BYTES]


def make_job(rows: pa.Table, shard: Shard, *, sweep: bool = False) -> ShardJob:
    """Cut a shard's rows out of the plan's."""
    import pyarrow as pa

    part = rows.slice(shard.start, shard.stop - shard.start)
    wanted = part.select(_WANTED)
    for name in _REPEATED:  # the plan's dictionaries name every task and file of the batch
        wanted = wanted.set_column(_WANTED.index(name), name, compact(as_array(part[name])))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, wanted.schema) as writer:
        writer.write_table(wanted.combine_chunks())
    # The other side's are left out: a hot task's snapshot shard is large enough to be waited for.
    manifests = b"" if shard.work is Work.SNAPSHOT else _fingerprints(part["manifest_fingerprint"])
    snapshots = b"" if shard.work is Work.MANIFEST else _fingerprints(part["snapshot_fingerprint"])
    stream = sink.getvalue().to_pybytes()
    return ShardJob(shard, stream, manifests, snapshots, _find_marked(part["quarantined"]), sweep)


def _dictionary(column: pa.DictionaryArray) -> tuple[list[Any], memoryview[int]]:
    """A column's different values, and the number of each row's."""
    return column.dictionary.to_pylist(), memory(column.indices, "i")


def _fingerprints(column: pa.ChunkedArray) -> bytes:
    """All of a column, NO_FINGERPRINT for null; empty where there are none at all."""
    import pyarrow as pa

    if column.null_count == len(column):
        return b""
    kind = pa.binary(FINGERPRINT_BYTES)
    known = as_array(column.cast(kind).fill_null(pa.scalar(NO_FINGERPRINT, kind)))
    return memory(known, "B", FINGERPRINT_BYTES).tobytes()


def _find_marked(column: pa.ChunkedArray) -> frozenset[int]:
    """The rows where a column is True."""
    if column.null_count == len(column):
        return frozenset()
    return frozenset(row for row, marked in enumerate(column.to_pylist()) if marked)
