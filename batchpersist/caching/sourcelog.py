"""What a scan found in each source file, as it is noted for the next batch's catalogue."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..columns import adopt
from ..ingest.scan import Tally
from .knownsources import CODES, NO_IDENTITY, Identity, KnownFiles

if TYPE_CHECKING:
    import pyarrow as pa

_ENTRIES = 1 << 16
"""Handed over at once."""


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

    def add(self, identity: Identity, tally: Tally, first_row: int) -> None:
        """Note what a file held, or its first range. One with a reject is left out, to be told anew."""
        self._open = identity != NO_IDENTITY and tally.lasting and not tally.rejects
        if self._open:
            self._make_room()
            entry = (*identity, first_row, *_counts(tally))
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
        for column, count in zip(self._columns[3:], _counts(tally), strict=True):
            column[-1] += count

    def add_known(self, files: KnownFiles, first_row: int) -> None:
        """Note again what was known of files already; their rows begin at ``first_row`` now."""
        self._make_room()
        self._entries += len(files.high)
        shift = first_row - files.first_row[0]
        moved = files._replace(first_row=memoryview(array("i", [row + shift for row in files.first_row])))
        for column, values in zip(self._columns, moved, strict=True):
            column.frombytes(values.cast("B"))

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


def _counts(tally: Tally) -> tuple[int, int, int, int]:
    return tally.runs, tally.other_events, tally.other_manifests, tally.bytes_read


def _empty() -> list[array[int]]:
    return [array(code) for code in CODES]
