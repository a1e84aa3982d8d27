"""The index of a batch: one row a completed run, in source order, without its payload.

Columns: task_id, run_id, timestamp (strings), path (as the file system has it: bytes), source
(what a person calls it), offset, length, line (int64). What repeats is dictionary-encoded.
It stays columnar from the scan to the plan: at a million runs a Python object a row would
cost more than the runs themselves.
"""

from __future__ import annotations

import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..columns import adopt, columns_of, utf8, where, whole
from ..memory import UNBOUNDED, MemoryBound
from .scan import Reject, ScannedPart

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class ScanTotals:
    """What a scan came across, apart from the runs themselves."""

    discovered: int = 0
    """Runs found, the invalid ones included."""
    other_events: int = 0
    other_manifests: int = 0
    ignored_files: int = 0
    bytes_read: int = 0
    """Those of sources that the catalogue spared included."""
    other_rejects: int = 0
    """Of ``discovered``: invalid ones that are not wanted."""
    cached_sources: int = 0
    """Files that were not read, since the catalogue knew them."""


@dataclass
class IndexBuilder:
    """Collects the rows of the sources' parts, to be added in source order, into one table."""

    known: pa.Table | None = None
    """Rows that need not be scanned, for ``add_known``."""
    wanted: Callable[[Reject], bool] = lambda _reject: True
    """Which rejects to keep; the others are only counted."""
    totals: ScanTotals = field(default_factory=ScanTotals)
    rejects: list[Reject] = field(default_factory=list)
    rows: int = 0
    cut_short: bool = False
    """The scan was stopped before the sources' end."""
    memory: MemoryBound = UNBOUNDED
    """Of this process: UsageError is raised as soon as the index is too large for it."""
    _size: int = 0
    """Bytes of all columns."""
    _scanned: list[pa.RecordBatch] = field(default_factory=list)
    _scanned_rows: int = 0
    _order: array[int] = field(default_factory=lambda: array("i"))
    """Where each row comes from, if any are known: a row of these, or behind them a scanned one."""
    _lines_before: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        if self.known is not None:
            self._size = self.known.nbytes

    def add(self, part: ScannedPart) -> list[Reject]:
        """Take in the next part; lines it counted from its own start become lines of the file.

        Returns the part's rejects that are wanted.
        """
        name = part.names[0] if part.ranged else ""
        before = 0 if part.starts_file else self._lines_before[name]
        if part.run_ids:
            self._scanned.append(_record_batch(part, before))
            self._size += self._scanned[-1].nbytes
        self._extend((self.known.num_rows if self.known else 0) + self._scanned_rows, len(part.run_ids))
        self._scanned_rows += len(part.run_ids)
        found = [reject._replace(line=reject.line + before) for reject in part.rejects]
        rejects = [reject for reject in found if self.wanted(reject)]
        self.totals.other_rejects += len(found) - len(rejects)
        self.rejects += rejects
        if part.ranged:
            self._lines_before[name] = before + part.line_count
        self._count(part)
        return rejects

    def _count(self, part: ScannedPart) -> None:
        totals = self.totals
        totals.discovered += len(part.run_ids) + len(part.rejects)
        totals.other_events += part.other_events
        totals.other_manifests += part.other_manifests
        totals.ignored_files += part.ignored_files
        totals.bytes_read += part.bytes_read

    def add_rejects(self, rejects: Sequence[Reject]) -> None:
        """Take in what is invalid for another reason than that a part said so."""
        self.rejects += rejects
        self.totals.discovered += len(rejects)

    def add_known(self, first: int, runs: int) -> None:
        """Take in rows of ``known``; the totals are the caller's to add to."""
        self._extend(first, runs)
        self.totals.discovered += runs

    def _extend(self, first: int, runs: int) -> None:
        self.rows += runs
        if self.known is not None:
            self._order.extend(range(first, first + runs))
        self.memory.check_index(self.rows, self._size)

    def take_table(self) -> pa.Table:
        """All rows, in one piece; the builder keeps none of them.

        Where some were known, the column ``known`` has their numbers, and null for the others.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        known, self.known = self.known, None
        scanned = pa.Table.from_batches(self._scanned, schema=_schema())
        self._scanned.clear()
        columns = columns_of(scanned if known is None else pa.concat_tables([_indexed(known), scanned]))
        before = None if known is None else known.num_rows
        del known, scanned  # their memory is needed
        table = _in_one_piece(columns)
        if before is None:
            return table
        order, self._order = self._order, array("i")
        numbers = adopt(order, pa.int32())
        if order != array("i", range(table.num_rows)):
            table = table.take(numbers)
        return table.append_column("known", where(pc.less(numbers, before), numbers))


def _indexed(known: pa.Table) -> pa.Table:
    return known.select(_schema().names)


def _in_one_piece(columns: dict[str, pa.ChunkedArray]) -> pa.Table:
    """A table of the columns, each with one chunk and one dictionary; they are let go of one by one."""
    import pyarrow as pa

    return pa.table({name: whole(columns.pop(name).unify_dictionaries()) for name in list(columns)})


def _schema() -> pa.Schema:
    import pyarrow as pa

    repeated = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            ("task_id", repeated),
            ("run_id", pa.string()),
            ("timestamp", pa.string()),
            ("path", pa.dictionary(pa.int32(), pa.binary())),
            ("offset", pa.int64()),
            ("length", pa.int64()),
            ("source", repeated),
            ("line", pa.int64()),
        ]
    )


def _record_batch(part: ScannedPart, lines_before: int) -> pa.RecordBatch:
    import pyarrow as pa
    import pyarrow.compute as pc

    files = pa.array(part.files, pa.int32())
    lines = pa.array(part.lines, pa.int64())
    return pa.RecordBatch.from_arrays(
        [
            pa.array(part.task_ids, pa.string()).dictionary_encode(),
            pa.array(part.run_ids, pa.string()),
            pa.array(part.timestamps, pa.string()),
            pa.DictionaryArray.from_arrays(files, pa.array(map(os.fsencode, part.paths), pa.binary())),
            pa.array(part.offsets, pa.int64()),
            pa.array(part.lengths, pa.int64()),
            pa.DictionaryArray.from_arrays(files, pa.array(map(utf8, part.names), pa.string())),
            pc.add(lines, lines_before),
        ],
        schema=_schema(),
    )
