"""Cutting the list of entries out of a snapshot's canonical text, chunk by chunk.

Canonical text has no line break inside a string, so an entry begins and ends with a line
that holds nothing but its bracket, at the indentation of an entry. Each entry that is cut out
like this is then validated by itself, so that a torn file is never taken for a snapshot.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from typing import Any

from .errors import InvalidRunError, SnapshotError
from .jsontext import canonical, nest, string
from .models import Keys
from .snapshottext import ENTRY_LEVELS, RUNS_END

Read = Callable[[int, int], bytes]
"""(size, offset) -> so many bytes from there, fewer only where the text ends."""

_START = b"\n    {\n"
_END = b"\n    }"
_INDENT = len(b"\n    ")


class NotCanonicalError(Exception):
    """The text is not laid out as JSON.stringify(snapshot, null, 2) does; it may be valid all the same."""


class Window:
    """What is left of a text that is read in chunks. Only what is not yet taken is kept."""

    def __init__(self, read: Read, chunk: int) -> None:
        self._read = read
        self._chunk = chunk
        self._data = bytearray()
        self.offset = 0
        """Of the first byte not yet taken."""

    def take_through(self, mark: bytes, *, within: int | None = None) -> bytes:
        """Everything up to and including ``mark``.

        NotCanonicalError where it does not come, or not within about so many bytes.
        """
        searched = 0
        while (at := self._data.find(mark, searched)) < 0:
            searched = max(0, len(self._data) - len(mark) + 1)
            if (within is not None and searched > within) or not self._more():
                raise NotCanonicalError
        return self._take(at + len(mark))

    def skip(self, mark: bytes) -> bool:
        """Take ``mark`` if it comes next."""
        while len(self._data) < len(mark) and self._more():
            pass
        return self._data.startswith(mark) and bool(self._take(len(mark)))

    def take_rest(self) -> bytes:
        while self._more():
            pass
        return self._take(len(self._data))

    def _more(self) -> bool:
        chunk = self._read(self._chunk, self.offset + len(self._data))
        self._data += chunk
        return bool(chunk)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._data[:size])
        del self._data[:size]
        self.offset += size
        return taken


class Entries:
    """The entries of a snapshot: their keys, and where their text lies (bytes)."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, str]] = []
        """(run id, timestamp)"""
        self.offsets: array[int] = array("Q")
        self.lengths: array[int] = array("Q")

    def read(self, window: Window, keys: Keys) -> None:
        """Read on from behind the list's opening bracket to behind its closing one.

        NotCanonicalError where the text is not a canonical list of objects; SnapshotError
        where one of them has no string under ``keys.run`` or ``keys.time``.
        """
        run_mark, time_mark = _mark(keys.run), _mark(keys.time)
        while True:
            text = window.take_through(_END)
            if not text.startswith(_START):
                raise NotCanonicalError
            text = text[_INDENT:]
            _check_canonical(text)
            run_id, timestamp = _string_after(run_mark, text), _string_after(time_mark, text)
            if run_id is None or timestamp is None:
                name = keys.run if run_id is None else keys.time
                raise SnapshotError(
                    "an entry of the snapshot lacks a key", f"entry {len(self.keys) + 1}: {name}"
                )
            self.keys.append((run_id, timestamp))
            self.offsets.append(window.offset - len(text))
            self.lengths.append(len(text))
            if not window.skip(b","):
                break
        if not window.skip(RUNS_END):
            raise NotCanonicalError


def _check_canonical(text: bytes) -> None:
    try:
        is_canonical = nest(canonical(text), ENTRY_LEVELS) == text
    except InvalidRunError as error:
        raise NotCanonicalError from error
    if not is_canonical:
        raise NotCanonicalError


def _mark(key: str) -> bytes:
    """What stands before the value of an entry's own key: nothing deeper is indented like this."""
    return b"\n      %b: " % string(key)


def _string_after(mark: bytes, text: bytes) -> str | None:
    """The string value behind the last ``mark``; None where there is none."""
    at = text.rfind(mark)
    start = at + len(mark)
    value = text[start : text.index(b"\n", start)].removesuffix(b",")
    if at < 0 or not value.startswith(b'"'):
        return None
    decoded: Any = json.loads(value) if b"\\" in value else value[1:-1].decode()
    return str(decoded)
