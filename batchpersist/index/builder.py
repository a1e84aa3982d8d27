"""Builds the index of a batch: a row for each completed run, in source order, without its payload.

Its columns are those of ``columns.index_schema``.
It stays columnar from the scan to the plan: at a million runs a Python object a row would
cost more than the runs themselves.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..arrow_tables import adopt, columns_of, run_schema, where, whole
from ..memory_limit import UNBOUNDED, MemoryBound
from ..sources import OTHER_SUFFIXES, Reject, ScannedPart, ScanTotals

if TYPE_CHECKING:
    import pyarrow as pa


def in_one_piece(columns: dict[str, pa.ChunkedArray]) -> pa.Table:
    """A table of the columns, each with one chunk and one dictionary; they are let go of one by one."""
    import pyarrow as pa

    def joined(name: str) -> pa.Array:
        column = columns.pop(name)
        return _stacked(column) if name == "file" else whole(column.unify_dictionaries())

    return pa.table({name: joined(name) for name in list(columns)})


def _stacked(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece, with the chunks' dictionaries one after the other.

    What chunks have in common is told from the chunk before alone (ranges of one file): at a million files
    a look for all of it would take more memory than it saves.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not column.num_chunks:
        return whole(column)
    dictionaries = [column.chunk(0).dictionary]
    indices, before = [], 0
    for chunk in column.chunks:
        if not chunk.dictionary.equals(dictionaries[-1]):
            before += len(dictionaries[-1])
            dictionaries.append(chunk.dictionary)
        indices.append(pc.add(chunk.indices, pa.scalar(before, pa.int32())))
    del column
    return pa.DictionaryArray.from_arrays(pa.concat_arrays(indices), pa.concat_arrays(dictionaries))


_ROWS_AT_ONCE = 1 << 16

_NAMED_SUFFIXES = 20


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
    _pending: list[pa.RecordBatch] = field(default_factory=list)
    """As they came from the workers, to be brought together."""
    _pending_rows: int = 0
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
        before = 0 if part.starts_file else self._lines_before[part.source]
        if part.rows is not None:
            self._pending.append(_counted_from(part.rows, before))
            self._pending_rows += part.runs
            # Origins become names: where each file is one of its own, these are held beside them.
            self._size += part.rows.nbytes + part.rows.column("origin").dictionary.nbytes
            if self._pending_rows >= _ROWS_AT_ONCE:
                self._join_pending()
        self._extend((self.known.num_rows if self.known else 0) + self._scanned_rows, part.runs)
        self._scanned_rows += part.runs
        found = [reject._replace(line=reject.line + before) for reject in part.rejects]
        rejects = [reject for reject in found if self.wanted(reject)]
        self.totals.other_rejects += len(found) - len(rejects)
        self.rejects += rejects
        if part.ranged:
            self._lines_before[part.source] = before + part.line_count
        self._count(part)
        return rejects

    def _join_pending(self) -> None:
        """Small pieces of the heap become a large one of Arrow's: else the heap would stay as large."""
        import pyarrow as pa

        joined = pa.Table.from_batches(self._pending, schema=run_schema()).combine_chunks()
        self._scanned += joined.to_batches()
        self._pending.clear()
        self._pending_rows = 0

    def _count(self, part: ScannedPart) -> None:
        totals = self.totals
        totals.discovered += part.runs + len(part.rejects)
        totals.other_events += part.other_events
        totals.other_manifests += part.other_manifests
        totals.ignored_files += part.ignored_files
        totals.incomplete += part.incomplete
        for suffix, files in part.unknown_suffixes.items():
            known = totals.unknown_suffixes
            name = suffix if suffix in known or len(known) < _NAMED_SUFFIXES else OTHER_SUFFIXES
            known[name] = known.get(name, 0) + files
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
        """All rows, in one piece; the builder keeps none of them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        self._join_pending()
        known, self.known = self.known, None
        scanned = pa.Table.from_batches(self._scanned, schema=run_schema())
        self._scanned.clear()
        columns = columns_of(scanned if known is None else pa.concat_tables([_indexed(known), scanned]))
        before = None if known is None else known.num_rows
        del known, scanned  # their memory is needed
        table = in_one_piece(columns)
        if before is None:
            return table.append_column("known", pa.nulls(table.num_rows, pa.int32()))
        order, self._order = self._order, array("i")
        numbers = adopt(order, pa.int32())
        if order != array("i", range(table.num_rows)):
            table = table.take(numbers)
        return table.append_column("known", where(pc.less(numbers, before), numbers))


def _counted_from(rows: pa.RecordBatch, before: int) -> pa.RecordBatch:
    """Lines counted from the file's start, which is so many lines before."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not before:
        return rows
    lines = pc.add(rows.column("line"), before)
    return pa.RecordBatch.from_arrays([*rows.columns[:-1], lines], schema=rows.schema)


def _indexed(known: pa.Table) -> pa.Table:
    return known.select(run_schema().names)
