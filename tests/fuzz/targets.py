"""Rules that hold for any bytes: each target takes some, and raises AssertionError if its rule does not hold.

The other side is Python's json module, made strict, and the slow formatter of jsonspelling.py.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

sys.path.append(str(Path(__file__).parents[1]))  # the suite's helpers

from support.json_spelling import TOKEN, reference
from support.model import js_number

from batchpersist.contract.identifiers import JAVASCRIPT_WHITESPACE
from batchpersist.contract.json_text import BYTE_ORDER_MARK, MAX_DEPTH, canonical, nest
from batchpersist.contract.lock_record import UnreadableRecordError, parse
from batchpersist.contract.run_parser import RunReader
from batchpersist.errors import InvalidRunError, SnapshotError
from batchpersist.models import DEFAULT_KEYS
from batchpersist.snapshots.history import read_history
from batchpersist.sources import documents
from batchpersist.storage import file_reader
from batchpersist.storage.file_reader import MemoryBytes

sys.setrecursionlimit(10_000)  # for the slow side

_reader = RunReader(DEFAULT_KEYS)


class Number(NamedTuple):
    """A number as it is spelled: other spellings of an equal number differ."""

    text: str


def strict(data: bytes, around: int = 0) -> tuple[Any, str] | None:
    """The value and the text of a valid JSON document; None: the document must be refused.

    RFC 8259 in UTF-8 without a byte order mark, nested no deeper than MAX_DEPTH and what is ``around`` a run.
    """
    try:
        text = data.decode()
        if _depth(text) > MAX_DEPTH + around:
            return None
        return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=_refuse), text
    except ValueError:
        return None


def _depth(text: str) -> int:
    """The depth of valid JSON; for other text, any number."""
    depth = deepest = 0
    for token in TOKEN.findall(text):
        depth += (token in "[{") - (token in "]}")
        deepest = max(deepest, depth)
    return deepest


def _refuse(name: str) -> Any:
    raise ValueError(name)


def canonical_text(data: bytes) -> None:
    """Valid documents are written as JSON.stringify writes them, the others are refused."""
    valid = strict(data)
    try:
        text = canonical(data)
    except InvalidRunError:
        assert valid is None
        return
    assert valid is not None
    assert text == reference(valid[1]).encode()
    assert canonical(text) == text


def run_reader(data: bytes) -> None:
    """A run that is accepted is valid and complete, and has the keys that Python finds."""
    valid = strict(data, around=1)
    try:
        found = _reader.read(data)
    except InvalidRunError:
        return
    assert valid is not None
    if found is None:
        assert valid[0]["type"] != "run:completed" or "payload" not in valid[0]
        return
    keys, text = found
    run = json.loads(canonical(text))
    assert list(keys) == [run["taskId"], run["runId"], run["timestamp"]]
    payload = valid[0].get("payload")
    assert strict(text)[0] in (valid[0], payload)  # type: ignore[index]


def lines(data: bytes) -> None:
    """Each line of a file is in one range, wherever it is cut; the first bytes say where."""
    cuts, data = sorted(data[:3]), data[3:]
    offset = len(BYTE_ORDER_MARK) if data.startswith(BYTE_ORDER_MARK) else 0
    expected = []
    for line in data[offset:].split(b"\n"):
        text = line.strip(b" \t\r")
        expected.append((offset + len(line) - len(line.lstrip(b" \t\r")) if text else offset, text))
        offset += len(line) + 1
    with _file(data) as path:
        bounds = [0, *[min(cut, len(data)) for cut in cuts], len(data)]
        pieces = [
            piece for start, stop in pairwise(bounds) for piece in documents.line_documents(path, start, stop)
        ]
    found = [(offset, text) for _, offset, text in pieces if text]
    assert found == [(offset, text) for offset, text in expected if text]


def json_list(data: bytes) -> None:
    """The items of a list are its documents, at their positions; anything else is one document."""
    valid = strict(data.removeprefix(BYTE_ORDER_MARK))
    with _file(data) as path:
        try:
            found = list(documents.json_documents(path))
        except InvalidRunError:
            assert valid is None or _has_surrogates(data)
            return
    for line, offset, text in found:
        assert data[offset : offset + len(text)] == text
        assert line == 1 + data.count(b"\n", 0, offset)
    if valid is not None:
        items = valid[0] if isinstance(valid[0], list) else [valid[0]]
        assert [strict(text)[0] for _, _, text in found] == items  # type: ignore[index]


def _has_surrogates(data: bytes) -> bool:
    return b"\\ud" in data.lower()


def snapshot(data: bytes) -> None:
    """A snapshot is refused, or its entries are those that Python finds, in canonical text."""
    valid = strict(data, around=2)
    expected = _entries(valid[0]) if valid is not None else None
    for block in (file_reader.BLOCK, 7):
        try:
            with mock.patch.object(file_reader, "BLOCK", block):
                history = read_history(MemoryBytes(data), "t", DEFAULT_KEYS)
        except SnapshotError:
            assert expected is None
            continue
        assert expected is not None
        assert history.keys == [(entry["runId"], entry["timestamp"]) for entry in expected]
        texts = [history.text(number) for number in range(len(expected))]
        assert [strict(text)[0] for text in texts] == _respelled(expected)  # type: ignore[index]
        assert all(nest(canonical(text), 2) == text for text in texts)
        assert not history.is_canonical or canonical(data) == data


def _entries(value: Any) -> list[dict[str, Any]] | None:
    if not isinstance(value, dict) or value.get("taskId") != "t":
        return None
    runs = value.get("runs")
    if not isinstance(runs, list):
        return None
    for run in runs:
        if not isinstance(run, dict):
            return None
        if type(run.get("runId")) is not str or type(run.get("timestamp")) is not str:
            return None
    return runs


def _respelled(value: Any) -> Any:
    if isinstance(value, Number):
        return Number(js_number(value.text))
    if isinstance(value, dict):
        return {name: _respelled(item) for name, item in value.items()}
    return list(map(_respelled, value)) if isinstance(value, list) else value


def lock_owner(data: bytes) -> None:
    """A record with the kind, version and token of an owner is not treated as garbage."""
    valid = strict(data)
    try:
        owner = parse(data)
    except UnreadableRecordError:
        return
    if owner is None:
        assert valid is None or not _is_owner(valid[0])
        return
    assert owner.token
    assert owner.pid is None or owner.pid > 0
    if valid is not None:  # what is not strictly valid may count as an owner: then the lock is left alone
        assert _is_owner(valid[0])


def _is_owner(value: Any) -> bool:
    """Whether it is a plain owner record; unusual records have tests of their own."""
    if not isinstance(value, dict) or value.get("kind") != "codex-lock-owner":
        return False
    version, token = value.get("schema_version"), value.get("token")
    is_one = isinstance(version, Number) and float(version.text) == 1
    return is_one and isinstance(token, str) and token.strip(JAVASCRIPT_WHITESPACE) != ""


@contextmanager
def _file(data: bytes) -> Iterator[str]:
    """A file with these bytes; yields its path."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as file:
        file.write(data)
        file.flush()
        yield file.name


TARGETS: Sequence[Callable[[bytes], None]] = (
    canonical_text,
    run_reader,
    lines,
    json_list,
    snapshot,
    lock_owner,
)
