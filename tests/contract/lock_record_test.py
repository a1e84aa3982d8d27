from __future__ import annotations

import json
import os
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchpersist.contract.lock_record import LONGEST_RECORD, Owner, UnreadableRecordError, parse
from batchpersist.locks.lock_file import new_owner


def owner(**changes: object) -> Owner:
    return msgspec.structs.replace(new_owner("task", 300.0), **changes)


def test_the_record_is_one_line_of_json_in_the_contracts_form() -> None:
    line = new_owner('tä"sk', 300.0).encode()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    record = json.loads(line)
    keys = ["schema_version", "kind", "token", "task_id", "pid", "host", "acquired_at", "stale_ms"]
    assert list(record) == keys
    assert (record["schema_version"], record["kind"]) == (1, "codex-lock-owner")
    assert (record["task_id"], record["pid"], record["stale_ms"]) == ('tä"sk', os.getpid(), 300000)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["acquired_at"])


def test_each_record_has_a_token_of_its_own() -> None:
    assert new_owner("task", 300.0).token != new_owner("task", 300.0).token


@settings(deadline=None)
@given(st.integers(1, 2**31 - 1))
def test_a_record_reads_back(pid: int) -> None:
    record = owner(pid=pid)
    read = parse(record.encode())
    assert read is not None
    assert (read.token, read.task_id, read.pid) == (record.token, record.task_id, record.pid)
    assert (read.host, read.acquired_at) == (record.host, record.acquired_at)


@settings(deadline=None)
@given(st.binary())
def test_no_short_text_makes_parse_raise(content: bytes) -> None:
    assert parse(content) is None


RECORD = {"kind": "codex-lock-owner", "schema_version": 1, "token": "t", "pid": 1, "host": "h"}


def text(**changes: object) -> bytes:
    """A record's text with some members changed, or left out by ``...``."""
    members = {**RECORD, **changes}
    return json.dumps({name: value for name, value in members.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"1234\n",
        b"[]",
        b"NaN",
        b"6f1c7f0e-1f0e-4c5b-9a57-0c8f0a8b7c11",
        text()[:-1],
        text(kind="another"),
        text(kind=...),
        text(schema_version=2),
        text(schema_version="1"),
        text(schema_version=True),
        text(schema_version=...),
        text(token=...),
        text(token=""),
        text(token=" \ufeff\u00a0"),
        text(token=5),
        text(stale_ms=float("nan")),
        b"\x1c" + text(),  # Python's strip would take it away, JavaScript's trim does not
    ],
)
def test_text_without_kind_version_and_token_is_not_a_record(content: bytes) -> None:
    assert parse(content) is None


@pytest.mark.parametrize(
    "content",
    [
        text(schema_version=1.0),
        text().replace(b": 1,", b": 1e0,"),
        text(new=[1], stale_ms=None, task_id=7, acquired_at=None),
        text(task_id="\ud800"),
        b'{"token": "", ' + text()[1:],
        b"\xef\xbb\xbf\xc2\xa0\n" + text() + b"\xe3\x80\x80\r\n",
        text(more="x" * 100_000),
        text(more="\xe9").replace(b"\\u00e9", b"\xff"),
        text(more=0).replace(b'"more": 0', b'"more": 1' + b"0" * 5000),
    ],
)
def test_a_record_may_have_odd_spellings_and_other_members(content: bytes) -> None:
    found = parse(content)
    assert found is not None
    assert (found.token, found.pid, found.host) == ("t", 1, "h")


@pytest.mark.parametrize(
    "content",
    [b" " * LONGEST_RECORD + text(), b'{"more":' + b"[" * 60_000 + b"]" * 60_000 + b"," + text()[1:]],
)
def test_a_text_that_is_too_long_or_too_deep_is_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadableRecordError):
        parse(content)
