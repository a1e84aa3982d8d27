"""An existing task snapshot, as the keys of its entries and where their text is.

What this package or the orchestrator wrote is canonical, and is read in chunks: of a history
of any size only the keys and the places are kept. Whatever else is valid JSON (compact,
indented otherwise, escaped, with a ``lastRunAt`` that is not the last entry's) is read whole
and brought into canonical text first.
"""

from __future__ import annotations

from collections.abc import Iterator

from .entries import Entries, NotCanonicalError, Read, Window
from .errors import InvalidRunError, SnapshotError
from .jsontext import canonical, string
from .models import Keys
from .snapshottext import RUNS, further_members, head, members

CHUNK = 256 << 10
"""Bytes read at once: what stays in the processor's cache is faster than larger chunks are."""

_BLOCK = 1 << 20
"""Bytes copied at once."""

_LONGEST_HEAD = 64 << 10
"""Bytes before the first entry, at most: what begins otherwise is not searched to its end."""


class NotASnapshotError(SnapshotError):
    """Not this task's snapshot at all: it does not parse, is another task's, or has no list of runs."""


class History:
    """Entries in their order. Texts are canonical, and nested as deep as they are in a snapshot."""

    def __init__(
        self, read: Read, entries: Entries, further: bytes = b"", *, is_canonical: bool = False
    ) -> None:
        self._read = read
        self._offsets = entries.offsets
        self._lengths = entries.lengths
        self.keys = entries.keys
        """(run id, timestamp) of each entry."""
        self.further = further
        """The text of top-level members that are not ours to know."""
        self.is_canonical = is_canonical
        """The file is, byte for byte, what would be written for these entries."""

    def text(self, entry: int) -> bytes:
        """The text of one entry."""
        return self._bytes(self._offsets[entry], self._lengths[entry])

    def texts(self, first: int, last: int) -> Iterator[bytes]:
        """The text of neighbours with the separators between them, in blocks."""
        end = self._offsets[last] + self._lengths[last]
        for offset in range(self._offsets[first], end, _BLOCK):
            yield self._bytes(offset, min(_BLOCK, end - offset))

    def _bytes(self, offset: int, size: int) -> bytes:
        data = self._read(size, offset)
        if len(data) != size:
            raise SnapshotError("the snapshot was cut short while it was read")
        return data


def empty_history() -> History:
    """The history of a task that has none."""
    return History(_reader(b""), Entries())


def read_history(read: Read, task_id: str, keys: Keys, *, chunk: int = CHUNK) -> History:
    """Read and validate the snapshot of ``task_id``; ``read`` serves the History's texts later on, too.

    Raises NotASnapshotError, or SnapshotError where an entry is no completed run (an object
    with a string under ``keys.run`` and ``keys.time``).
    """
    try:
        return _read_canonical(read, task_id, keys, chunk)
    except NotCanonicalError:
        return _read_other(Window(read, chunk).take_rest(), task_id, keys)


def _read_canonical(read: Read, task_id: str, keys: Keys, chunk: int) -> History:
    window = Window(read, chunk)
    start = window.take_through(RUNS, within=_LONGEST_HEAD)
    entries = Entries()
    entries.read(window, keys)
    if start + b"\n    " != head(task_id, entries.keys[-1][1]):
        raise NotCanonicalError
    return History(read, entries, _further(window.take_rest()), is_canonical=True)


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


def _read_other(data: bytes, task_id: str, keys: Keys) -> History:
    try:
        text = canonical(data)
    except InvalidRunError as error:
        raise NotASnapshotError("the snapshot does not parse", str(error)) from error
    if not text.startswith(b"{"):
        raise NotASnapshotError("the snapshot is not an object")
    found = members(text)
    if found.get(b'"taskId"') != string(task_id):
        belongs_to = found.get(b'"taskId"', b"none").decode()
        raise NotASnapshotError("the snapshot's taskId is not the task's", belongs_to)
    runs = found.get(b'"runs"', b"")
    if not runs.startswith(b"["):
        raise NotASnapshotError("the snapshot's runs are not a list")
    entries = Entries()
    if runs != b"[]":
        window = Window(_reader(runs), len(runs))
        window.skip(b"[")
        try:
            entries.read(window, keys)
        except NotCanonicalError as error:
            number = f"entry {len(entries.keys) + 1}"
            raise SnapshotError("an entry of the snapshot is not an object", number) from error
    return History(_reader(runs), entries, further_members(found))


def _reader(data: bytes) -> Read:
    return lambda size, offset: data[offset : offset + size]
