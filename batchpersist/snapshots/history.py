"""An existing task snapshot, as the keys of its entries and where their text is.

What this package or the orchestrator wrote is canonical, and is read in blocks: of a history
of any size only the keys and the places are kept. Whatever else is valid JSON (compact,
indented otherwise, escaped, with a ``lastRunAt`` that is not the last entry's) is read whole
and brought into canonical text first (``otherforms``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import msgspec

from ..errors import EntryKeyError, InvalidRunError, SnapshotError
from ..memory import UNBOUNDED, MemoryBound
from ..models import Keys
from ..runs.jsontext import canonical, parse
from .entries import Entries, EntryReader, lacks_key
from .otherforms import read_other
from .snapshottext import LIST_START, SEPARATOR, further_members, head, head_of, members
from .window import NotCanonicalError, Read, Window

CHUNK = 64 << 10
"""Bytes read at once: what stays in the processor's nearest caches is faster than larger chunks are."""

_BLOCK = 1 << 20
"""Bytes copied at once."""

_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode

_LIST_OPEN = b"[\n    "

_LONGEST_HEAD = 64 << 10
"""Bytes before the first entry, at most: what begins otherwise is not searched to its end."""


class History:
    """Entries in their order. Texts are canonical, and nested as deep as they are in a snapshot."""

    def __init__(
        self,
        read: Read,
        entries: Entries,
        further: bytes = b"",
        *,
        is_canonical: bool = False,
        shared: int = 0,
        last_run_at: bytes = b"",
    ) -> None:
        self._read = read
        self.entries = entries
        self.further = further
        """The text of top-level members that are not ours to know."""
        self.is_canonical = is_canonical
        """The file is, byte for byte, what would be written for these entries."""
        self.shared = shared
        """So many entries at the beginning are those of the earlier history it was read with."""
        self.last_run_at = last_run_at
        """Where it is not canonical: what the file says, as JSON text."""

    @property
    def keys(self) -> list[tuple[str, str]]:
        """(run id, timestamp) of each entry."""
        return list(zip(self.entries.run_ids, self.entries.timestamps, strict=True))

    def text(self, entry: int) -> bytes:
        """The text of one entry."""
        return b"".join(self.texts(entry, entry))

    def texts(self, first: int, last: int) -> Iterator[bytes]:
        """The text of neighbours with the separators between them, in blocks."""
        end = self.entries.offsets[last + 1] - len(SEPARATOR)
        for offset in range(self.entries.offsets[first], end, _BLOCK):
            yield self._bytes(offset, min(_BLOCK, end - offset))

    def each_text(self) -> Iterator[bytes]:
        """The text of every entry, in their order; read in blocks, not one by one."""
        offsets, first = self.entries.offsets, 0
        while first < len(self.entries):
            stop = max(first + 1, bisect_right(offsets, offsets[first] + _BLOCK) - 1)
            block = b"".join(self.texts(first, stop - 1))
            for entry in range(first, stop):
                start = offsets[entry] - offsets[first]
                yield block[start : offsets[entry + 1] - offsets[first] - len(SEPARATOR)]
            first = stop

    def shared_with(self, read: Read, offset: int) -> int:
        """How many of the first entries stand in another text too, byte for byte, from ``offset`` on."""
        offsets = self.entries.offsets
        shift = offset - offsets[0]
        for start in range(offsets[0], self.entries.end, CHUNK):
            size = min(CHUNK, self.entries.end - start)
            mine, other = self._read(size, start), read(size, start + shift)
            if mine != other:
                pairs = enumerate(zip(mine, other, strict=False))
                same = next((at for at, (a, b) in pairs if a != b), min(len(mine), len(other)))
                return bisect_right(offsets, start + same) - 1
        return len(self.entries)

    def _bytes(self, offset: int, size: int) -> bytes:
        data = self._read(size, offset)
        if len(data) != size:
            raise SnapshotError("the snapshot was cut short while it was read")
        return data


def empty_history() -> History:
    """The history of a task that has none."""
    return History(_reader(b""), Entries(0))


def read_history(
    read: Read,
    task_id: str,
    keys: Keys,
    *,
    chunk: int = CHUNK,
    earlier: History | None = None,
    memory: MemoryBound = UNBOUNDED,
) -> History:
    """Read and validate the snapshot of ``task_id``; ``read`` serves the History's texts later on, too.

    ``earlier``: another state of the snapshot, read before: what is still as it was there is
    found by comparing, at a fraction of the cost of validating it again. Raises
    NotASnapshotError, or SnapshotError where an entry is no completed run (an object with a
    string under ``keys.run`` and ``keys.time``) or the whole is too large for ``memory``.
    """
    entry_reader = EntryReader(keys, memory)
    try:
        return _read_canonical(read, task_id, entry_reader, chunk, earlier or empty_history())
    except (NotCanonicalError, EntryKeyError):  # what follows may not be JSON at all
        return _read_other(read, task_id, keys, memory)


def _read_canonical(
    read: Read, task_id: str, entry_reader: EntryReader, chunk: int, earlier: History
) -> History:
    window = Window(read, chunk)
    start = window.take_through(LIST_START, within=_LONGEST_HEAD)
    if not start.startswith(head_of(task_id)):  # before its entries are looked at, which may be anything
        raise NotCanonicalError
    entries = Entries(window.offset)
    # One is always left to be read: what comes behind it is to be looked at.
    shared = max(0, min(earlier.shared_with(read, window.offset), len(earlier.entries) - 1))
    entries.extend(earlier.entries, 0, shared)
    if shared:
        window = Window(read, chunk, entries.offsets[-1])
    entry_reader.read(window, entries)
    if start != head(task_id, entries.timestamps[-1]):
        raise NotCanonicalError
    return History(read, entries, _further(window.take_rest()), is_canonical=True, shared=shared)


def _further(rest: bytes) -> bytes:
    """The members behind the list of runs; NotCanonicalError where the document does not end after them."""
    further = b""
    if rest.startswith(b","):
        document = b"{" + rest[1:]
        try:
            further = further_members(members(document)) if canonical(document) == document else b""
        except InvalidRunError as error:
            raise NotCanonicalError from error
    if rest != further + b"\n}":
        raise NotCanonicalError
    return further


def _read_other(read: Read, task_id: str, keys: Keys, memory: MemoryBound) -> History:
    runs, further, last_run_at = read_other(read, task_id, memory)
    entries = Entries(len(_LIST_OPEN))
    if runs != b"[]":
        try:
            EntryReader(keys, memory).read(Window(_reader(runs), CHUNK, len(_LIST_OPEN)), entries)
        except NotCanonicalError as error:
            raise _wrong_entry(list(map(bytes, parse(runs, _decode_list))), keys) from error
    return History(_reader(runs), entries, further, last_run_at=last_run_at)


def _wrong_entry(items: list[bytes], keys: Keys) -> SnapshotError:
    """Why a list of valid JSON is no list of entries."""
    number, item = next(found for found in enumerate(items, 1) if not found[1].startswith(b"{\n"))
    if item == b"{}":
        return lacks_key(number, keys.run)
    return SnapshotError("an entry of the snapshot is not an object", f"entry {number}")


def _reader(data: bytes) -> Read:
    return lambda size, offset: data[offset : offset + size]
