"""Sources as the catalogue knows them: which rows of the index a file gave, as long as it is as it was."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..columns import adopt, memory, whole
from ..ingest.scan import Tally
from ..sources import Piece
from ..stamps import NO_STAMP

if TYPE_CHECKING:
    import pyarrow as pa


class KnownFiles(NamedTuple):
    """Some files, one after the other: what the scan of each found, and where its rows are."""

    high: Sequence[int]
    low: Sequence[int]
    """The two halves of the identity (``sources.Piece``)."""
    first_row: Sequence[int]
    runs: Sequence[int]
    other_events: Sequence[int]
    other_manifests: Sequence[int]
    bytes_read: Sequence[int]


_CODES: tuple[Literal["Q", "i", "q"], ...] = ("Q", "Q", "i", "i", "q", "q", "q")

_ENTRIES = 1 << 16
"""Handed over at once."""

_identity = struct.Struct("=QQ")


class KnownSources:
    """The source files of a catalogue, by number; nothing but columns in memory."""

    def __init__(self, table: pa.Table) -> None:
        """``table``: what a ``SourceLog`` handed over. Raises ValueError for any other."""
        if tuple(table.column_names) != KnownFiles._fields:
            raise ValueError("not a table of sources")
        columns = zip(map(whole, table.columns), _CODES, strict=True)
        self._files = KnownFiles(*(memory(column, code) for column, code in columns))
        self._next = 0
        self._by_identity: tuple[memoryview[int], memoryview[int]] | None = None

    def find(self, piece: Piece) -> int | None:
        """The number of the file that a piece belongs to; None where it was not scanned as it is now.

        Mostly it is the one that follows the file that was found last.
        """
        if piece.identity == NO_STAMP:
            return None
        high, low = _identity.unpack(piece.identity)
        at, files = self._next, self._files
        if not (at < len(files.high) and files.high[at] == high and files.low[at] == low):
            found = self._search(high, low)
            if found is None:
                return None
            at = found
        self._next = at + 1
        return at

    def _search(self, high: int, low: int) -> int | None:
        sorted_high, numbers = self._by_identity = self._by_identity or _sorted(self._files.high)
        at = bisect_left(sorted_high, high)
        while at < len(sorted_high) and sorted_high[at] == high:
            if self._files.low[numbers[at]] == low:
                return numbers[at]
            at += 1
        return None

    def stretches(self, numbers: Iterable[int]) -> Iterator[KnownFiles]:
        """The files of some numbers, in their order; those together whose rows follow each other."""
        start = stop = rows = 0
        for number in numbers:
            if number != stop or self._files.first_row[number] != rows:
                if stop > start:
                    yield self._slice(start, stop)
                start = number
            stop, rows = number + 1, self._files.first_row[number] + self._files.runs[number]
        if stop > start:
            yield self._slice(start, stop)

    def _slice(self, start: int, stop: int) -> KnownFiles:
        return KnownFiles(*(column[start:stop] for column in self._files))


def _sorted(high: Sequence[int]) -> tuple[memoryview[int], memoryview[int]]:
    """The values in order, and the number of each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pa.Array.from_buffers(pa.uint64(), len(high), [None, pa.py_buffer(high)])
    order = pc.array_sort_indices(column)
    return memory(column.take(order), "Q"), memory(order, "Q")


class SourceLog:
    """Collects what a scan finds in each source file; for pieces in source order."""

    def __init__(self, take: Callable[[pa.RecordBatch], None]) -> None:
        """``take`` is given what has been collected, some at a time."""
        self._take = take
        self._columns = _empty()
        self._open = False
        """What comes next may belong to the last entry."""
        self._entries = 0

    def __len__(self) -> int:
        return self._entries

    def add(self, piece: Piece, tally: Tally, first_row: int) -> None:
        """Note what a file held, or its first range. One with a reject is left out, to be told anew."""
        self._open = piece.identity != NO_STAMP and not tally.rejects
        if self._open:
            runs, _, *counts = tally
            self._make_room()
            entry = (*_identity.unpack(piece.identity), first_row, runs, *counts)
            for column, value in zip(self._columns, entry, strict=True):
                column.append(value)
            self._entries += 1

    def extend(self, tally: Tally) -> None:
        """Note what a further range of the last file held; with a reject, the file is left out as a whole."""
        if not self._open:
            return
        if tally.rejects:
            self._open = False
            self._entries -= 1
            for column in self._columns:
                column.pop()
            return
        runs, _, *counts = tally
        for column, count in zip(self._columns[3:], (runs, *counts), strict=True):
            column[-1] += count

    def add_known(self, files: KnownFiles, first_row: int) -> None:
        """Note again what was known of files already; their rows begin at ``first_row`` now."""
        self._make_room()
        self._entries += len(files.high)
        shift = first_row - files.first_row[0]
        moved = files._replace(first_row=[row + shift for row in files.first_row])
        for column, values in zip(self._columns, moved, strict=True):
            column.extend(values)

    def _make_room(self) -> None:
        if len(self._columns[0]) >= _ENTRIES:
            self.flush()

    def flush(self) -> None:
        """Hand over what is left; nothing may follow that belongs to it."""
        import pyarrow as pa

        kinds = {"Q": pa.uint64(), "q": pa.int64(), "i": pa.int32()}
        columns = [adopt(column, kinds[column.typecode]) for column in self._columns]
        self._columns = _empty()
        self._take(pa.record_batch(columns, names=KnownFiles._fields))


def _empty() -> list[array[int]]:
    return [array(code) for code in _CODES]
