"""Sources as the catalogue knows them: which rows of the index a file gave, as long as it is as it was."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from struct import iter_unpack
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..columns import memory, whole
from ..stamps import NO_STAMP

if TYPE_CHECKING:
    import pyarrow as pa


class KnownFiles(NamedTuple):
    """Some files, one after the other: what the scan of each found, and where its rows are."""

    high: memoryview[int]
    low: memoryview[int]
    """The halves of the identity (``sources.Piece``)."""
    first_row: memoryview[int]
    runs: memoryview[int]
    other_events: memoryview[int]
    other_manifests: memoryview[int]
    bytes_read: memoryview[int]


CODES: tuple[Literal["Q", "i", "q"], ...] = ("Q", "Q", "i", "i", "q", "q", "q")
"""Of the columns, for ``array``."""

Identity = tuple[int, int]
"""Its halves."""

UNKNOWN = -1
"""No file's number."""


def each_identity(identities: bytes) -> Iterator[Identity]:
    """Of those that stand one after the other (``sources.Pieces``)."""
    return iter_unpack("=QQ", identities)


(NO_IDENTITY,) = each_identity(NO_STAMP)
"""Of a file that cannot be known."""


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

    def find(self, identities: bytes) -> Sequence[int]:
        """The number of each of some files, in their order; UNKNOWN where it was not scanned as it is now.

        Mostly they follow those that were found last: then they are found at once.
        """
        halves = memoryview(identities).cast("Q")
        numbers = range(self._next, self._next + len(halves) // 2)
        here = slice(numbers.start, numbers.stop)
        if self._files.high[here] == halves[::2] and self._files.low[here] == halves[1::2]:
            self._next = numbers.stop
            return numbers
        return list(map(self._find, each_identity(identities)))

    def _find(self, identity: Identity) -> int:
        if identity == NO_IDENTITY:
            return UNKNOWN
        at, files = self._next, self._files
        if at == len(files.high) or (files.high[at], files.low[at]) != identity:
            at = self._search(*identity)
        if at != UNKNOWN:
            self._next = at + 1
        return at

    def _search(self, high: int, low: int) -> int:
        sorted_high, numbers = self._sorted = self._sorted or _sorted(self._files.high)
        at = bisect_left(sorted_high, high)
        while at < len(sorted_high) and sorted_high[at] == high:
            if self._files.low[numbers[at]] == low:
                return numbers[at]
            at += 1
        return UNKNOWN

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
