"""What can be read of a file that is damaged: a snapshot's complete runs, a manifest's text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..errors import InvalidRunError, MissingKeyError, SnapshotError
from ..files.blocks import Readable, read_blocks
from ..models import RunKeys
from ..runs.run_texts import RunCheck

_ENTRY_START = b"\n    {\n"
_ENTRY_END = b"\n    }"
_LIST = re.compile(r'"runs"\s*:\s*\[')
_BETWEEN = re.compile(r"[ \t\r\n,]*")


class Salvaged(NamedTuple):
    """A complete run within a damaged file, and where its text is."""

    keys: RunKeys
    offset: int
    size: int


def salvage(source: Readable, check: RunCheck) -> Iterator[Salvaged]:
    """The complete runs in the list of a snapshot, in its order, of whatever task.

    Of the layout that the orchestrator writes, all runs that are whole are found, also behind a damaged
    place; of any other, those before the first damage. Of the former no more than a run is held in memory.
    Raises SnapshotError where there are none, but entries that lack a key: they may have other names for it.
    """
    lacking: list[MissingKeyError] = []
    found = False
    for run in _runs(_laid_out(source), check, lacking):
        found = True
        yield run
    for documents in () if found else _lists(source):
        if runs := list(_runs(documents, check, lacking)):
            yield from runs  # else it was another list of that name
            return
    if lacking and not found:
        raise SnapshotError("its entries lack a key, so that none can be salvaged", str(lacking[0]))


def _runs(
    documents: Iterable[tuple[int, bytes]], check: RunCheck, lacking: list[MissingKeyError]
) -> Iterator[Salvaged]:
    """Those of the documents (each with its offset) that are runs; ``lacking``: why others are not."""
    for offset, text in documents:
        try:
            yield Salvaged(check.read(text)[0], offset, len(text))
        except MissingKeyError as error:
            lacking[:] = [error]
        except InvalidRunError:
            continue


def _laid_out(source: Readable) -> Iterator[tuple[int, bytes]]:
    """What begins and ends as an entry does: with a line of a bracket, at an entry's indentation."""
    data, base = bytearray(), 0
    start = -1
    searched = 0
    for block in read_blocks(source):
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


def _lists(source: Readable) -> Iterator[Iterator[tuple[int, bytes]]]:
    """The documents behind each bracket of a list of runs, in any layout; read whole, as such a snapshot
    always is.
    """
    data = b"".join(read_blocks(source))
    text = data.decode("latin-1")  # a character a byte: places in the one are places in the other
    for opening in _LIST.finditer(text):
        yield _documents(data, text, opening.end())


def _documents(data: bytes, text: str, at: int) -> Iterator[tuple[int, bytes]]:
    """The JSON documents from a place on, up to what is none, each with its offset."""
    decode = json.JSONDecoder().raw_decode
    while True:
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it may be empty
        try:
            _, end = decode(text, at)
        except (ValueError, RecursionError):
            return
        yield at, data[at:end]
        at = end


def own_text(data: bytes) -> bytes | None:
    """What a file that a crash has filled up with NULs held before; None where it is something else."""
    stripped = data.rstrip(b"\0")
    return stripped if 0 < len(stripped) < len(data) else None
