"""What can be read of a file that is damaged: a snapshot's complete runs, a manifest's text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from ..audit.runcheck import RunCheck
from ..errors import InvalidRunError
from ..models import RunKeys
from ..snapshots.window import Read

_BLOCK = 1 << 20
_ENTRY_START = b"\n    {\n"
_ENTRY_END = b"\n    }"
_LIST = re.compile(r'"runs"\s*:\s*\[')
_BETWEEN = re.compile(r"[ \t\r\n,]*")


class Salvaged(NamedTuple):
    """A complete run within a damaged file, and where its text is."""

    keys: RunKeys
    offset: int
    size: int


def salvage(read: Read, check: RunCheck) -> Iterator[Salvaged]:
    """The complete runs in the list of a snapshot, in its order, of whatever task.

    Of the layout that the orchestrator writes, all runs that are whole are found, also behind a damaged
    place; of any other, those before the first damage. Of the former no more than a run is held in memory.
    """
    found = False
    for offset, text in _laid_out(read):
        with_keys = _run(text, check)
        if with_keys is not None:
            found = True
            yield Salvaged(with_keys, offset, len(text))
    if not found:
        yield from _in_any_layout(read, check)


def _run(text: bytes, check: RunCheck) -> RunKeys | None:
    try:
        return check.read(text)[0]
    except InvalidRunError:
        return None


def _laid_out(read: Read) -> Iterator[tuple[int, bytes]]:
    """What begins and ends as an entry does: with a line of a bracket, at an entry's indentation."""
    data, base = bytearray(), 0
    start = -1
    searched = 0
    while block := read(_BLOCK, base + len(data)):
        data += block
        while True:
            if start < 0:
                at = data.find(_ENTRY_START, searched)
                if at < 0:
                    searched = max(0, len(data) - len(_ENTRY_START) + 1)
                    break
                start = searched = at + len(_ENTRY_START) - 2
            end = data.find(_ENTRY_END, searched)
            again = data.find(_ENTRY_START, searched)
            if 0 <= again < end or (end < 0 <= again):  # the one before was cut short
                start = searched = again + len(_ENTRY_START) - 2
                continue
            if end < 0:
                searched = max(start, len(data) - len(_ENTRY_START) + 1)
                break
            stop = end + len(_ENTRY_END)
            yield base + start, bytes(data[start:stop])
            start, searched = -1, end + 1
        drop = start if start >= 0 else searched
        base += drop
        del data[:drop]
        searched -= drop
        start = 0 if start >= 0 else -1


def _in_any_layout(read: Read, check: RunCheck) -> Iterator[Salvaged]:
    """One document after the other behind the list's bracket; read whole, as such a snapshot always is."""
    data = b"".join(_blocks(read))
    text = data.decode("latin-1")  # a character a byte: places in the one are places in the other
    for opening in _LIST.finditer(text):
        found = list(_documents(data, text, opening.end(), check))
        if found:  # else it was another list of that name
            yield from found
            return


def _documents(data: bytes, text: str, at: int, check: RunCheck) -> Iterator[Salvaged]:
    """The runs among the documents from a place on, up to what is none."""
    decode = json.JSONDecoder().raw_decode
    while True:
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it may be empty
        try:
            _, end = decode(text, at)
        except (ValueError, RecursionError):
            return
        keys = _run(data[at:end], check)
        if keys is not None:
            yield Salvaged(keys, at, end - at)
        at = end


def _blocks(read: Read) -> Iterator[bytes]:
    offset = 0
    while block := read(_BLOCK, offset):
        yield block
        offset += len(block)


def own_text(data: bytes) -> bytes | None:
    """What a file that a crash has filled up with NULs held before; None where it is something else."""
    stripped = data.rstrip(b"\0")
    return stripped if 0 < len(stripped) < len(data) else None
