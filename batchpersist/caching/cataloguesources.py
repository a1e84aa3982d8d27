"""Sources as the catalogue knows them: which rows of the index a file gave, as long as it has its stamp."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from ..columns import adopt, memory, whole
from ..ingest.scan import Tally
from ..sources import Format, Piece
from ..stamps import NO_STAMP

if TYPE_CHECKING:
    import pyarrow as pa


class KnownSource(NamedTuple):
    """What the scan of a source file found, and where its rows are."""

    first_row: int
    runs: int
    other_events: int
    other_manifests: int
    size: int


_COLUMNS = ("high", "low", *KnownSource._fields)


class KnownSources:
    """The source files of a catalogue, by what identifies them; nothing but columns in memory."""

    def __init__(self, table: pa.Table) -> None:
        """``table``: from ``SourceLog.table``. Raises ValueError for any other."""
        if tuple(table.column_names) != _COLUMNS:
            raise ValueError("not a table of sources")
        self._high, self._low, *self._fields = map(_integers, table.columns)

    def find(self, piece: Piece) -> KnownSource | None:
        """What is known of the file that a piece belongs to; None where it was not scanned as it is now."""
        if not _is_loggable(piece):
            return None
        high, low = _identity(piece)
        at = bisect_left(self._high, high)
        while at < len(self._high) and self._high[at] == high:
            if self._low[at] == low:
                return KnownSource(*(field[at] for field in self._fields))
            at += 1
        return None


class SourceLog:
    """Collects what a scan finds in each source file; for pieces in source order."""

    def __init__(self) -> None:
        self._columns = {name: array("Q" if name in ("high", "low") else "q") for name in _COLUMNS}
        self._open: Piece | None = None
        """The file whose further ranges may follow."""

    def __len__(self) -> int:
        return len(self._columns["high"])

    def add(self, piece: Piece, tally: Tally, first_row: int) -> None:
        """Note what a piece held. A file with a reject in any range is left out: it is to be told anew."""
        if not _is_loggable(piece):
            return
        if piece.start == 0:
            self._open = None if tally.rejects else piece
            if self._open is not None:
                known = KnownSource(first_row, tally.runs, *tally[2:], piece.stop)
                self.add_known(piece, known, first_row)
        elif self._open is not None and self._open.path == piece.path:
            self._extend(tally, piece)

    def add_known(self, piece: Piece, known: KnownSource, first_row: int) -> None:
        """Note again what was known of a file already; its rows begin at ``first_row`` now."""
        row = (*_identity(piece), *known._replace(first_row=first_row))
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)

    def _extend(self, tally: Tally, piece: Piece) -> None:
        columns = self._columns
        if tally.rejects:
            self._open = None
            for column in columns.values():
                column.pop()
            return
        columns["size"][-1] = piece.stop
        for name in ("runs", "other_events", "other_manifests"):
            columns[name][-1] += getattr(tally, name)

    def table(self) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        kinds = {"Q": pa.uint64(), "q": pa.int64()}
        columns = {name: adopt(column, kinds[column.typecode]) for name, column in self._columns.items()}
        table = pa.table(columns)
        return table.take(pc.array_sort_indices(whole(table["high"])))


def _is_loggable(piece: Piece) -> bool:
    return piece.stamp != NO_STAMP and piece.format in (Format.JSON, Format.LINES)


def _identity(piece: Piece) -> tuple[int, int]:
    """A file as it was found: where, under which name, read how, and in which state."""
    place = os.fsencode(f"{piece.format.name}\0{piece.doubtful}\0{piece.path}\0{piece.name}")
    digest = blake2b(piece.stamp + place, digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def _integers(column: pa.ChunkedArray) -> memoryview:
    import pyarrow as pa

    return memory(whole(column), "Q" if pa.types.is_uint64(column.type) else "q")
