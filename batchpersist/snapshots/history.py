"""Reads an existing snapshot: the keys of its entries, and where their text is.

What this package or the orchestrator wrote is canonical, and is read in blocks: of a history
of any size only the keys and the places are kept. Whatever else is valid JSON (compact,
indented otherwise, escaped, with a ``lastRunAt`` that is not the last entry's) is read whole
and laid out as canonical text first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import msgspec

from ..contract.json_text import TOO_DEEP, canonical, parse, shallow, string
from ..contract.snapshot_text import (
    ENTRY_LEVELS,
    LIST_START,
    SEPARATOR,
    further_members,
    head,
    head_of,
    members,
)
from ..errors import EntryKeyError, InvalidRunError, SnapshotError
from ..models import Keys
from ..storage.file_reader import BLOCK, MemoryBytes, Readable, read_blocks
from .entries import Entries, EntryReader, NotCanonicalError, Window, lacks_key


class NotASnapshotError(SnapshotError):
    """Not this task's snapshot at all, to the orchestrator as well: it does not parse, is another task's, or
    has no list of runs."""


class NotAFileError(NotASnapshotError):
    """A folder or a pipe, say, is in its place."""


class OtherTaskError(NotASnapshotError):
    """A snapshot, but another task's."""


def _read_members(source: Readable, task_id: str) -> dict[bytes, bytes]:
    """Read a snapshot in whatever layout: its members, in canonical text nested as deep as it is there.

    The only case in which a history lies in memory, several times over. Raises NotASnapshotError;
    where the file is torn (NULs in it, or its end is missing) without holding it in memory; SnapshotError
    where the orchestrator may read a snapshot of the task though it cannot be read here.
    """
    _refuse_torn(source)
    data = b"".join(read_blocks(source))
    try:
        text = canonical(data, around=ENTRY_LEVELS)
    except InvalidRunError as error:
        kind = SnapshotError if _may_be_snapshot(data, task_id) else NotASnapshotError
        if error.message == TOO_DEEP:
            raise kind("the snapshot is nested too deep", f"a run in it is {TOO_DEEP}") from error
        raise kind("the snapshot does not parse", str(error)) from error
    if not text.startswith(b"{"):
        raise NotASnapshotError("the snapshot is not an object")
    found = members(text)
    if found.get(b'"taskId"') != string(task_id):
        belongs_to = found.get(b'"taskId"', b"none").decode()
        raise OtherTaskError("the snapshot's taskId is not the task's", belongs_to)
    if not found.get(b'"runs"', b"").startswith(b"["):
        raise NotASnapshotError("the snapshot's runs are not a list")
    return found


def _may_be_snapshot(data: bytes, task_id: str) -> bool:
    """Whether the orchestrator may read the task's snapshot from text that is not valid here.

    It reads any depth, and takes bytes that are no UTF-8 for U+FFFD.
    """
    text = data.decode(errors="replace").encode()
    try:
        found = members(canonical(shallow(text)))
        canonical(text, around=ENTRY_LEVELS)
    except InvalidRunError as error:
        if error.message != TOO_DEEP:
            return False
    return found.get(b'"taskId"') == string(task_id) and found.get(b'"runs"', b"").startswith(b"[")


def _refuse_torn(source: Readable) -> None:
    offset, last = 0, b""
    for block in read_blocks(source):
        if b"\0" in block:
            reason = f"NUL byte: byte {offset + block.index(0)}"
            raise NotASnapshotError("the snapshot does not parse", reason)
        offset += len(block)
        last = block.rstrip() or last
    if source.read(1, 0) == b"{" and not last.endswith(b"}"):
        raise NotASnapshotError("the snapshot does not parse", f"incomplete JSON: ends at byte {offset}")


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode

_LIST_OPEN = b"[\n    "

_LONGEST_HEAD = 64 << 10
"""Bytes before the first entry, at most: what begins otherwise is not searched to its end."""


class History:
    """Entries in their order. Texts are canonical, and nested as deep as they are in a snapshot."""

    def __init__(
        self,
        source: Readable,
        entries: Entries,
        further: bytes = b"",
        *,
        is_canonical: bool = False,
        last_run_at: bytes = b"",
    ) -> None:
        self._source = source
        self.entries = entries
        self.further = further
        """The text of top-level members that batchpersist does not know."""
        self.is_canonical = is_canonical
        """The file is, byte for byte, what would be written for these entries."""
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
        """The text of neighbours with the separators between them, in blocks.

        SnapshotError where the file has become shorter since it was read.
        """
        start, end = self.entries.offsets[first], self.entries.offsets[last + 1] - len(SEPARATOR)
        for block in read_blocks(self._source, start, end):
            yield block
            start += len(block)
        if start < end:
            raise SnapshotError("the snapshot was cut short while it was read")

    def each_text(self) -> Iterator[bytes]:
        """The text of every entry, in their order; read in blocks, not one by one."""
        offsets, first = self.entries.offsets, 0
        while first < len(self.entries):
            stop = max(first + 1, bisect_right(offsets, offsets[first] + BLOCK) - 1)
            block = b"".join(self.texts(first, stop - 1))
            for entry in range(first, stop):
                start = offsets[entry] - offsets[first]
                yield block[start : offsets[entry + 1] - offsets[first] - len(SEPARATOR)]
            first = stop


def empty_history() -> History:
    """The history of a task that has none."""
    return History(MemoryBytes(b""), Entries(0))


def read_history(source: Readable, task_id: str, keys: Keys) -> History:
    """Read and validate the snapshot of ``task_id``; ``source`` serves the History's texts later on, too.

    Raises NotASnapshotError, or SnapshotError where an entry is no completed run (an object with
    a string under ``keys.run`` and ``keys.time``).
    """
    try:
        return _read_canonical(source, task_id, EntryReader(keys))
    except (NotCanonicalError, EntryKeyError):  # what follows may not be JSON at all
        return _read_other(source, task_id, keys)


def _read_canonical(source: Readable, task_id: str, entry_reader: EntryReader) -> History:
    window = Window(source)
    start = window.take_through(LIST_START, within=_LONGEST_HEAD)
    if not start.startswith(head_of(task_id)):  # before its entries are looked at, which may be anything
        raise NotCanonicalError
    entries = Entries(window.offset)
    entry_reader.read(window, entries)
    if start != head(task_id, entries.timestamps[-1]):
        raise NotCanonicalError
    return History(source, entries, _further(window.take_rest()), is_canonical=True)


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


def _read_other(source: Readable, task_id: str, keys: Keys) -> History:
    found = _read_members(source, task_id)
    runs = found[b'"runs"']
    entries, text = Entries(len(_LIST_OPEN)), MemoryBytes(runs)
    if runs != b"[]":
        try:
            EntryReader(keys).read(Window(text, len(_LIST_OPEN)), entries)
        except NotCanonicalError as error:
            raise _wrong_entry(list(map(bytes, parse(runs, _decode_list))), keys) from error
    return History(text, entries, further_members(found), last_run_at=found.get(b'"lastRunAt"', b""))


def _wrong_entry(items: list[bytes], keys: Keys) -> SnapshotError:
    """Why a list of valid JSON is no list of entries."""
    number, item = next(found for found in enumerate(items, 1) if not found[1].startswith(b"{\n"))
    if item == b"{}":
        return lacks_key(number, keys.run)
    return SnapshotError("an entry of the snapshot is not an object", f"entry {number}")
