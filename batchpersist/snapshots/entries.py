"""Cuts the entries out of a snapshot's canonical text, block by block.

Canonical text has no line break inside a string, so an entry begins and ends with a line
that holds nothing but its bracket, at the indentation of an entry. A block of neighbours cut
out like this is validated as a whole, so that a torn file is never taken for a snapshot.
"""

from __future__ import annotations

import json
from array import array
from operator import attrgetter
from typing import Any

import msgspec

from ..contract.javascript_spelling import spell_as_javascript
from ..contract.json_text import lay_out, nest, parse, string
from ..contract.snapshot_text import ENTRY_LEVELS, RUNS_END, SEPARATOR
from ..errors import EntryKeyError, InvalidRunError
from ..models import Keys
from ..storage.file_reader import Readable, read_blocks


class NotCanonicalError(Exception):
    """The text is not laid out as JSON.stringify(snapshot, null, 2) does; it may be valid all the same."""


class Window:
    """The part of a text that was not yet taken."""

    def __init__(self, source: Readable, offset: int = 0) -> None:
        self._blocks = read_blocks(source, offset)
        self._data = bytearray()
        self.offset = offset
        """Of the first byte not yet taken."""

    def take_through(self, mark: bytes, *, within: int) -> bytes:
        """Everything up to and including ``mark``.

        NotCanonicalError where it does not come within about so many bytes.
        """
        searched = 0
        while (at := self._data.find(mark, searched)) < 0:
            searched = max(0, len(self._data) - len(mark) + 1)
            if searched > within or not self._more():
                raise NotCanonicalError
        return self._take(at + len(mark))

    def take_items(self, between: bytes, last: bytes) -> tuple[bytes, bool]:
        """As many items as there are in what was read, at least one, and whether ``last`` comes next.

        ``between`` precedes each further item; it is taken, but not returned. NotCanonicalError
        where neither comes.
        """
        searched = 0
        while True:
            if (at := self._data.find(last, searched)) >= 0:
                return self._take(at), True
            if (at := self._data.rfind(between, searched)) >= 0:
                items = self._take(at)
                self._take(len(between))
                return items, False
            searched = max(0, len(self._data) - max(len(between), len(last)) + 1)
            if not self._more():
                raise NotCanonicalError

    def take_rest(self) -> bytes:
        while self._more():
            pass
        return self._take(len(self._data))

    def _more(self) -> bool:
        block = next(self._blocks, b"")
        if b"\0" in block:  # in no JSON text, but a torn file may hold nothing else up to its end
            raise NotCanonicalError
        self._data += block
        return bool(block)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._data[:size])
        del self._data[:size]
        self.offset += size
        return taken


_OPEN = b"{\n"
_CLOSE = b"\n    }"
_BETWEEN = _CLOSE + SEPARATOR + _OPEN
_LAST = _CLOSE + RUNS_END


class Entries:
    """Neighbouring entries: their keys, and where their text lies."""

    def __init__(self, offset: int) -> None:
        """``offset``: of the first one (bytes)."""
        self.run_ids: list[str] = []
        self.timestamps: list[str] = []
        self.offsets: array[int] = array("Q", [offset])
        """Where each begins, and where one more would, behind a separator."""

    def __len__(self) -> int:
        return len(self.run_ids)

    @property
    def end(self) -> int:
        """Where the last one ends."""
        return self.offsets[-1] - len(SEPARATOR)

    def add(self, run_id: str, timestamp: str, size: int) -> None:
        self.run_ids.append(run_id)
        self.timestamps.append(timestamp)
        self.offsets.append(self.offsets[-1] + size + len(SEPARATOR))

    def extend(self, others: Entries, first: int, stop: int) -> None:
        """Add others from ``first`` up to ``stop``, which is left out."""
        self.run_ids += others.run_ids[first:stop]
        self.timestamps += others.timestamps[first:stop]
        shift = self.offsets[-1] - others.offsets[first]
        offsets = others.offsets[first + 1 : stop + 1]
        self.offsets.extend(offsets if not shift else array("Q", [offset + shift for offset in offsets]))


class EntryReader:
    """Reads entries whose ids are under the given keys."""

    def __init__(self, keys: Keys) -> None:
        self._names = (keys.run, keys.time)
        fields = {name: f"key{number}" for number, name in enumerate(self._names)}  # both may be one
        entry = msgspec.defstruct(
            "_Entry",
            [(field, str) for field in fields.values()],
            rename={field: name for name, field in fields.items()},
            gc=False,
        )
        self._decode = msgspec.json.Decoder(list[entry]).decode  # type: ignore[valid-type]
        self._keys_of = attrgetter(*(fields[name] for name in self._names))

    def read(self, window: Window, entries: Entries) -> None:
        """Read on from the next entry to behind the list's end.

        NotCanonicalError where the text is not a canonical list of objects; SnapshotError
        where one of them has no string under ``keys.run`` or ``keys.time``.
        """
        is_last = False
        while not is_last:
            block, is_last = window.take_items(_CLOSE + SEPARATOR, _LAST)
            self._read_block(block, entries)
        window.take_through(_LAST, within=len(_LAST))

    def _read_block(self, block: bytes, entries: Entries) -> None:
        """``block`` lacks the line that closes its last entry."""
        if not block.startswith(_OPEN):
            raise NotCanonicalError
        texts = [b"%b%b%b" % (_OPEN, text, _CLOSE) for text in block[len(_OPEN) :].split(_BETWEEN)]
        found = self._read_at_once(block + _CLOSE) or [
            self._read_one(text, len(entries) + number) for number, text in enumerate(texts, 1)
        ]
        for text, (run_id, timestamp) in zip(texts, found, strict=True):
            if spell_as_javascript(text) != text:
                raise NotCanonicalError
            entries.add(run_id, timestamp, len(text))

    def _read_at_once(self, block: bytes) -> list[tuple[str, str]] | None:
        """The keys of a block of valid, canonical entries; None where each has to be read by itself."""
        try:
            laid_out = lay_out(b'{"":[%b]}' % block, around=ENTRY_LEVELS)
            if laid_out == b'{\n  "": [\n    %b\n  ]\n}' % block:
                return list(map(self._keys_of, parse(b"[%b]" % block, self._decode)))
        except InvalidRunError:
            pass
        return None

    def _read_one(self, text: bytes, number: int) -> tuple[str, str]:
        """With a key missing, repeated or spelled as Python alone reads it, or damaged."""
        _check_layout(text)
        run_id, timestamp = (_string_after(_mark(name), text) for name in self._names)
        if run_id is None or timestamp is None:
            raise lacks_key(number, self._names[0 if run_id is None else 1])
        return run_id, timestamp


def lacks_key(number: int, name: str) -> EntryKeyError:
    """The error for an entry, numbered from 1, that has no string under the name."""
    return EntryKeyError("an entry of the snapshot lacks a key", f"entry {number}: {name}")


def _check_layout(text: bytes) -> None:
    try:
        is_laid_out = nest(lay_out(text), ENTRY_LEVELS) == text
    except InvalidRunError as error:
        raise NotCanonicalError from error
    if not is_laid_out:
        raise NotCanonicalError


def _mark(key: str) -> bytes:
    """What comes before the value of an entry's own key: nothing deeper is indented like this."""
    return b"\n      %b: " % string(key)


def _string_after(mark: bytes, text: bytes) -> str | None:
    """The string value behind the last ``mark``; None where there is none."""
    at = text.rfind(mark)
    if at < 0:
        return None
    start = at + len(mark)
    value = text[start : text.index(b"\n", start)].removesuffix(b",")
    if not value.startswith(b'"'):
        return None
    decoded: Any = json.loads(value) if b"\\" in value else value[1:-1].decode()
    return str(decoded)
