"""Source files as the last batch scanned them: unchanged ones give their rows of the index unread."""

from __future__ import annotations

import logging
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..arrow_tables import adopt, as_array, memory
from ..models import SourceCounts
from ..sources import PackedSources
from ..storage.fingerprint import NO_FINGERPRINT, what_changed

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)


class CachedFiles(NamedTuple):
    """Some files, one after the other: what the scan of each found, and where its rows are."""

    place: memoryview[int]
    first: memoryview[int]
    second: memoryview[int]
    """The place and the halves of the fingerprint make the identity (``sources.Source``)."""
    first_row: memoryview[int]
    runs: memoryview[int]
    other_events: memoryview[int]
    other_manifests: memoryview[int]
    bytes_read: memoryview[int]


_CODES: tuple[Literal["Q", "i", "q"], ...] = ("Q", "Q", "Q", "i", "i", "q", "q", "q")
"""Of the columns, for ``array``."""

Identity = tuple[int, int, int]
"""Place, and the halves of the fingerprint."""

UNKNOWN = -1
"""No file's number."""

_IDENTITY = Struct("=QQQ")
_FINGERPRINT = Struct("=QQ")


def each_identity(identities: bytes) -> Iterator[Identity]:
    """Of those that follow one another (``sources.PackedSources``)."""
    return _IDENTITY.iter_unpack(identities)


def _fingerprint(identity: Identity) -> bytes:
    return _FINGERPRINT.pack(*identity[1:])


class CachedSources:
    """The source files of a cache, by number; nothing but columns in memory."""

    def __init__(self, table: pa.Table) -> None:
        """``table``: what a ``SourceRecorder`` handed over. Raises ValueError for any other."""
        if tuple(table.column_names) != CachedFiles._fields:
            raise ValueError("not a table of sources")
        columns = zip(map(as_array, table.columns), _CODES, strict=True)
        self._files = CachedFiles(*(memory(column, code) for column, code in columns))
        self._next = 0
        self._sorted: tuple[memoryview[int], memoryview[int]] | None = None

    def find(self, sources: PackedSources) -> Sequence[int]:
        """The number of each source's file, in their order; UNKNOWN where it was not scanned as it is now.

        Mostly they follow those that were found last: then they are found at once.
        """
        thirds = memoryview(sources.identities).cast("Q")
        numbers = range(self._next, self._next + len(sources))
        here = slice(numbers.start, numbers.stop)
        columns = (self._files.place, self._files.first, self._files.second)
        if all(column[here] == thirds[third::3] for third, column in enumerate(columns)):
            self._next = numbers.stop
            return numbers
        found = list(map(self._find, each_identity(sources.identities)))
        if _log.isEnabledFor(logging.DEBUG):
            self._log_unknown(sources, found)
        return found

    def _find(self, identity: Identity) -> int:
        if _fingerprint(identity) == NO_FINGERPRINT:
            return UNKNOWN
        at, files = self._next, self._files
        if at == len(files.place) or self._identity(at) != identity:
            at = next((at for at in self._at(identity[0]) if self._identity(at) == identity), UNKNOWN)
        if at != UNKNOWN:
            self._next = at + 1
        return at

    def _identity(self, at: int) -> Identity:
        return self._files.place[at], self._files.first[at], self._files.second[at]

    def _at(self, place: int) -> Iterator[int]:
        """The numbers of all files of this place: mostly one, or none."""
        places, numbers = self._sorted = self._sorted or _sorted(self._files.place)
        at = bisect_left(places, place)
        while at < len(places) and places[at] == place:
            yield numbers[at]
            at += 1

    def _log_unknown(self, sources: PackedSources, numbers: Sequence[int]) -> None:
        for source, number in zip(sources, numbers, strict=True):
            if number == UNKNOWN and source.start == 0:
                ((place, *found),) = each_identity(source.identity)
                reason = "not in the cache"
                if not source.is_cacheable:
                    reason = "written within the last clock tick, or not a file on a disk"
                elif at := list(self._at(place)):
                    reason = what_changed(_fingerprint(self._identity(at[-1])), _FINGERPRINT.pack(*found))
                _log.debug("%s is scanned, not taken from the cache: %s", source.name, reason)

    def stretches(self, numbers: Iterable[int]) -> Iterator[CachedFiles]:
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

    def _slice(self, start: int, stop: int) -> CachedFiles:
        return CachedFiles(*(column[start:stop] for column in self._files))


def _sorted(places: Sequence[int]) -> tuple[memoryview[int], memoryview[int]]:
    """The values in order, and the number of each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pa.Array.from_buffers(pa.uint64(), len(places), [None, pa.py_buffer(places)])
    order = pc.array_sort_indices(column)
    return memory(column.take(order), "Q"), memory(order, "Q")


_ENTRIES = 1 << 16
"""Handed over at once."""


class SourceRecorder:
    """Collects what a scan finds in each source file, for the next batch; for sources in source order."""

    def __init__(self, take: Callable[[pa.RecordBatch], None]) -> None:
        """``take`` is given what has been collected, some at a time."""
        self._take = take
        self._columns = _empty()
        self._open = False
        """What comes next may belong to the last entry."""
        self._entries = 0

    def __len__(self) -> int:
        return self._entries

    def add(self, identity: Identity, counts: SourceCounts, first_row: int) -> None:
        """Record what a file held, or its first range. One with a reject is left out, to be read again."""
        is_cacheable = _fingerprint(identity) != NO_FINGERPRINT
        self._open = is_cacheable and counts.is_lasting and not counts.rejects
        if self._open:
            self._make_room()
            entry = (*identity, first_row, *_counts(counts))
            for column, value in zip(self._columns, entry, strict=True):
                column.append(value)
            self._entries += 1

    def extend(self, counts: SourceCounts) -> None:
        """Record what a further range of the last file held; with a reject, the whole file is left out."""
        if not self._open:
            return
        if counts.rejects:
            self._open = False
            self._entries -= 1
            for column in self._columns:
                column.pop()
            return
        for column, count in zip(self._columns[4:], _counts(counts), strict=True):
            column[-1] += count

    def add_cached(self, files: CachedFiles, first_row: int) -> None:
        """Record again what was in the cache already; the files' rows begin at ``first_row`` now."""
        self._make_room()
        self._entries += len(files.place)
        shift = first_row - files.first_row[0]
        moved = files._replace(first_row=memoryview(array("i", [row + shift for row in files.first_row])))
        for column, values in zip(self._columns, moved, strict=True):
            column.frombytes(values.cast("B"))

    def _make_room(self) -> None:
        if len(self._columns[0]) >= _ENTRIES:
            self.flush()

    def flush(self) -> None:
        """Hand over the entries collected so far; ``extend`` must not follow for the last of them."""
        import pyarrow as pa

        kinds = {"Q": pa.uint64(), "q": pa.int64(), "i": pa.int32()}
        columns = [adopt(column, kinds[column.typecode]) for column in self._columns]
        self._columns = _empty()
        self._take(pa.record_batch(columns, names=CachedFiles._fields))


def _counts(counts: SourceCounts) -> tuple[int, int, int, int]:
    return counts.runs, counts.other_events, counts.other_manifests, counts.bytes_read


def _empty() -> list[array[int]]:
    return [array(code) for code in _CODES]
