"""What can be read of a damaged file: the complete runs of a snapshot, the text of a manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..contract.run_parser import RunChecker
from ..errors import InvalidRunError, MissingKeyError, SnapshotError
from ..models import RunKeys
from ..storage.file_reader import Readable, read_blocks

_ENTRY_START = b"\n    {\n"
_ENTRY_END = b"\n    }"
_LIST = re.compile(r'"runs"\s*:\s*\[')
_BETWEEN = re.compile(r"[ \t\r\n,]*")


class RecoveredRun(NamedTuple):
    """A complete run in a damaged file, and where its text is, in bytes."""

    keys: RunKeys
    offset: int
    size: int


def recover_runs(source: Readable, checker: RunChecker) -> Iterator[RecoveredRun]:
    """The complete runs in the list of a damaged snapshot, in its order, of whatever task.

    In the layout that the orchestrator writes, all complete runs are found, also behind a damaged
    place, and no more than one is held in memory; in any other, those before the first damage. Raises
    SnapshotError where there are only entries that lack a key: they may have it under another name.
    """
    lacking: list[MissingKeyError] = []
    found = False
    for run in _runs(_entries(source), checker, lacking):
        found = True
        yield run
    for documents in () if found else _lists(source):
        if runs := list(_runs(documents, checker, lacking)):
            yield from runs  # otherwise it was another list called runs
            return
    if lacking and not found:
        raise SnapshotError("its entries lack a key, so that none can be recovered", str(lacking[0]))


def _runs(
    documents: Iterable[tuple[int, bytes]], checker: RunChecker, lacking: list[MissingKeyError]
) -> Iterator[RecoveredRun]:
    """The runs among documents with their offsets; ``lacking`` gets the last error of a missing key."""
    for offset, text in documents:
        try:
            yield RecoveredRun(checker.read(text)[0], offset, len(text))
        except MissingKeyError as error:
            lacking[:] = [error]
        except InvalidRunError:
            continue


def _entries(source: Readable) -> Iterator[tuple[int, bytes]]:
    """What begins and ends like an entry: with a bracket on a line, at the indentation of an entry."""
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
            if 0 <= again < end or (end < 0 <= again):  # the entry before is cut short
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
    """The documents of each list called runs, in any layout; reads the file whole, as others do there."""
    data = b"".join(read_blocks(source))
    text = data.decode("latin-1")  # a character a byte, so that positions are the same in both
    for opening in _LIST.finditer(text):
        yield _documents(data, text, opening.end())


def _documents(data: bytes, text: str, at: int) -> Iterator[tuple[int, bytes]]:
    """The JSON documents from a position on, each with its offset, up to what is not one."""
    decode = json.JSONDecoder().raw_decode
    while True:
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it may be empty
        try:
            _, end = decode(text, at)
        except (ValueError, RecursionError):
            return
        yield at, data[at:end]
        at = end


def text_before_nuls(data: bytes) -> bytes | None:
    """The text of a file that a crash has filled up with NULs; None where it is something else."""
    stripped = data.rstrip(b"\0")
    return stripped if 0 < len(stripped) < len(data) else None
