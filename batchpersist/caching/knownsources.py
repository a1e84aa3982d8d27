"""Sources as the catalogue knows them: which rows of the index a file gave, as long as it is as it was."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..columns import memory, whole
from ..sources import Piece
from ..stamps import NO_STAMP

if TYPE_CHECKING:
    import pyarrow as pa


class KnownFiles(NamedTuple):
    """Some files, one after the other: what the scan of each found, and where its rows are."""

    high: Sequence[int]
    low: Sequence[int]
    """``halves`` of the identity (``sources.Piece``)."""
    first_row: Sequence[int]
    runs: Sequence[int]
    other_events: Sequence[int]
    other_manifests: Sequence[int]
    bytes_read: Sequence[int]


CODES: tuple[Literal["Q", "i", "q"], ...] = ("Q", "Q", "i", "i", "q", "q", "q")
"""Of the columns, for ``array``."""

_halves = struct.Struct("=QQ")


def halves(identity: bytes) -> tuple[int, int]:
    """The two numbers that a file is known by."""
    high, low = _halves.unpack(identity)
    return high, low


class KnownSources:
    """The source files of a catalogue, by number; nothing but columns in memory."""

    def __init__(self, table: pa.Table) -> None:
        """``table``: what a ``SourceLog`` handed over. Raises ValueError for any other."""
        if tuple(table.column_names) != KnownFiles._fields:
            raise ValueError("not a table of sources")
        columns = zip(map(whole, table.columns), CODES, strict=True)
        self._files = KnownFiles(*(memory(column, code) for column, code in columns))
        self._next = 0
        self._sorted: tuple[memoryview[int], memoryview[int]] | None = None

    def find(self, piece: Piece) -> int | None:
        """The number of the file that a piece belongs to; None where it was not scanned as it is now.

        Mostly it is the one that follows the file that was found last.
        """
        if piece.identity == NO_STAMP:
            return None
        high, low = halves(piece.identity)
        at, files = self._next, self._files
        if not (at < len(files.high) and files.high[at] == high and files.low[at] == low):
            found = self._search(high, low)
            if found is None:
                return None
            at = found
        self._next = at + 1
        return at

    def _search(self, high: int, low: int) -> int | None:
        sorted_high, numbers = self._sorted = self._sorted or _sorted(self._files.high)
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
