"""Sources as the catalogue knows them: which rows of the index a file gave, as long as it is as it was."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..columns import adopt, memory, whole
from ..ingest.scan import Tally
from ..sources import Piece
from ..stamps import NO_STAMP

if TYPE_CHECKING:
    import pyarrow as pa


class KnownSource(NamedTuple):
    """What the scan of a source file found, and where its rows are."""

    first_row: int
    runs: int
    other_events: int
    other_manifests: int
    bytes_read: int


_COLUMNS = ("high", "low", *KnownSource._fields)
_CODES: tuple[Literal["Q", "i", "q"], ...] = ("Q", "Q", "i", "i", "q", "q", "q")

_ENTRIES = 1 << 16
"""Handed over at once."""

_identity = struct.Struct("=QQ")


class KnownSources:
    """The source files of a catalogue, by their identity; nothing but columns in memory."""

    def __init__(self, table: pa.Table) -> None:
        """``table``: what a ``SourceLog`` handed over. Raises ValueError for any other."""
        import pyarrow.compute as pc

        if tuple(table.column_names) != _COLUMNS:
            raise ValueError("not a table of sources")
        order = pc.array_sort_indices(whole(table["high"]))
        columns = [whole(column.take(order)) for column in table.columns]
        self._high, self._low, *self._fields = (
            memory(column, code) for column, code in zip(columns, _CODES, strict=True)
        )

    def find(self, piece: Piece) -> KnownSource | None:
        """What is known of the file that a piece belongs to; None where it was not scanned as it is now."""
        if piece.identity == NO_STAMP:
            return None
        high, low = _identity.unpack(piece.identity)
        at = bisect_left(self._high, high)
        while at < len(self._high) and self._high[at] == high:
            if self._low[at] == low:
                return KnownSource(*(field[at] for field in self._fields))
            at += 1
        return None


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
            self.add_known(piece, KnownSource(first_row, runs, *counts), first_row)

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

    def add_known(self, piece: Piece, known: KnownSource, first_row: int) -> None:
        """Note again what was known of a file already; its rows begin at ``first_row`` now."""
        if len(self._columns[0]) == _ENTRIES:
            self.flush()
        entry = (*_identity.unpack(piece.identity), first_row, *known[1:])
        for column, value in zip(self._columns, entry, strict=True):
            column.append(value)
        self._entries += 1

    def flush(self) -> None:
        """Hand over what is left; nothing may follow that belongs to it."""
        import pyarrow as pa

        kinds = {"Q": pa.uint64(), "q": pa.int64(), "i": pa.int32()}
        columns = [adopt(column, kinds[column.typecode]) for column in self._columns]
        self._columns = _empty()
        self._take(pa.record_batch(columns, names=_COLUMNS))


def _empty() -> list[array[int]]:
    return [array(code) for code in _CODES]
