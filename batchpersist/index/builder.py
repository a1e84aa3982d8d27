"""Builds the index of a batch: a row for each completed run, in source order, without its payload.

Its columns are those of ``arrow_tables.index_schema``.
It stays columnar from the scan to the plan: at a million runs a Python object a row would
cost more than the runs themselves.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..arrow_tables import adopt, as_array, columns_of, null_unless, run_schema
from ..memory_limit import UNBOUNDED, MemoryBound
from ..models import Reject, ScanTotals
from .scan_worker import ScanResult

if TYPE_CHECKING:
    import pyarrow as pa


def join_chunks(columns: dict[str, pa.ChunkedArray]) -> pa.Table:
    """A table of the columns, each with one chunk and one dictionary; releases them one by one."""
    import pyarrow as pa

    def join(name: str) -> pa.Array:
        column = columns.pop(name)
        return _stack_dictionaries(column) if name == "file" else as_array(column.unify_dictionaries())

    return pa.table({name: join(name) for name in list(columns)})


def _stack_dictionaries(column: pa.ChunkedArray) -> pa.Array:
    """A column in one chunk, with the dictionaries of its chunks one after the other.

    Only a dictionary that equals the chunk's before it (ranges of one file) is shared: at a million files, to
    find all that chunks have in common would take more memory than it saves.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not column.num_chunks:
        return as_array(column)
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


@dataclass
class IndexBuilder:
    """Collects the results of scan tasks, added in source order, in one table."""

    known: pa.Table | None = None
    """Rows of the cache, for ``add_known``."""
    wanted: Callable[[Reject], bool] = lambda _reject: True
    """Which rejects to keep; it only counts the others."""
    totals: ScanTotals = field(default_factory=ScanTotals)
    rejects: list[Reject] = field(default_factory=list)
    rows: int = 0
    cut_short: bool = False
    """The scan stopped before the end of the sources."""
    memory: MemoryBound = UNBOUNDED
    """Of this process. UsageError is raised as soon as the index is too large for it."""
    _size: int = 0
    """Bytes of all columns."""
    _scanned: list[pa.RecordBatch] = field(default_factory=list)
    _pending: list[pa.RecordBatch] = field(default_factory=list)
    """As they came from the workers, to be joined."""
    _pending_rows: int = 0
    _scanned_rows: int = 0
    _order: array[int] = field(default_factory=lambda: array("i"))
    """If some rows are known: the number of each row among these, or among the scanned ones after them."""
    _lines_before: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        if self.known is not None:
            self._size = self.known.nbytes

    def add(self, result: ScanResult) -> list[Reject]:
        """Add the next result; lines counted from the start of its range become lines of the file.

        Returns its rejects that are wanted.
        """
        before = 0 if result.starts_file else self._lines_before[result.last_source]
        if result.rows is not None:
            self._pending.append(_shift_lines(result.rows, before))
            self._pending_rows += result.runs
            # Origins become names: where each file has its own, these are in memory beside them.
            self._size += result.rows.nbytes + result.rows.column("origin").dictionary.nbytes
            if self._pending_rows >= _ROWS_AT_ONCE:
                self._join_pending()
        self._extend((self.known.num_rows if self.known else 0) + self._scanned_rows, result.runs)
        self._scanned_rows += result.runs
        found = [reject._replace(line=reject.line + before) for reject in result.rejects]
        rejects = [reject for reject in found if self.wanted(reject)]
        self.rejects += rejects
        if result.is_range:
            self._lines_before[result.last_source] = before + result.line_count
        totals = self.totals
        totals.other_rejects += len(found) - len(rejects)
        totals.discovered += result.runs + len(found)
        totals.other_events += result.other_events
        totals.bytes_read += result.bytes_read
        totals.add_skipped(result.skipped)
        return rejects

    def _join_pending(self) -> None:
        """Small blocks of the heap become a large one of Arrow's: otherwise the heap would stay as large."""
        import pyarrow as pa

        joined = pa.Table.from_batches(self._pending, schema=run_schema()).combine_chunks()
        self._scanned += joined.to_batches()
        self._pending.clear()
        self._pending_rows = 0

    def add_rejects(self, rejects: Sequence[Reject]) -> None:
        """Add what is invalid for another reason than its content."""
        self.rejects += rejects
        self.totals.discovered += len(rejects)

    def add_known(self, first: int, runs: int) -> None:
        """Add rows of ``known``; the caller adds to the other totals."""
        self._extend(first, runs)
        self.totals.discovered += runs

    def _extend(self, first: int, runs: int) -> None:
        self.rows += runs
        if self.known is not None:
            self._order.extend(range(first, first + runs))
        self.memory.check_index(self.rows, self._size)

    def take_table(self) -> pa.Table:
        """All rows, each column in one chunk; the builder keeps none of them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        self._join_pending()
        known, self.known = self.known, None
        scanned = pa.Table.from_batches(self._scanned, schema=run_schema())
        self._scanned.clear()
        columns = columns_of(scanned if known is None else pa.concat_tables([_indexed(known), scanned]))
        before = None if known is None else known.num_rows
        del known, scanned  # their memory is needed
        table = join_chunks(columns)
        if before is None:
            return table.append_column("known", pa.nulls(table.num_rows, pa.int32()))
        order, self._order = self._order, array("i")
        numbers = adopt(order, pa.int32())
        if order != array("i", range(table.num_rows)):
            table = table.take(numbers)
        return table.append_column("known", null_unless(pc.less(numbers, before), numbers))


def _shift_lines(rows: pa.RecordBatch, before: int) -> pa.RecordBatch:
    """The rows with lines counted from the file's start, which is so many lines before."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not before:
        return rows
    lines = pc.add(rows.column("line"), before)
    return pa.RecordBatch.from_arrays([*rows.columns[:-1], lines], schema=rows.schema)


def _indexed(known: pa.Table) -> pa.Table:
    return known.select(run_schema().names)
