from __future__ import annotations

import json
import os
import re
from datetime import datetime, timezone

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.contenders import dead_pid

from batchpersist import processes
from batchpersist.contract.lock_record import (
    LONGEST_RECORD,
    Owner,
    OwnerState,
    parse,
    state_of,
    state_of_owner,
    this_process,
)
from batchpersist.processes import process_start


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def is_gone(owner: Owner) -> bool:
    return state_of_owner(owner) is OwnerState.DEAD


def own_start() -> float:
    start = process_start(os.getpid())
    assert start is not None
    return start


def owner(**changes: object) -> Owner:
    return msgspec.structs.replace(this_process("task", 300.0), **changes)


def test_the_record_is_one_line_of_json_in_the_contracts_form() -> None:
    line = this_process('tä"sk', 300.0).encode()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    record = json.loads(line)
    keys = ["schema_version", "kind", "token", "task_id", "pid", "host", "acquired_at", "stale_ms"]
    assert list(record) == keys
    assert (record["schema_version"], record["kind"]) == (1, "codex-lock-owner")
    assert (record["task_id"], record["pid"], record["stale_ms"]) == ('tä"sk', os.getpid(), 300000)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["acquired_at"])


def test_each_record_has_a_token_of_its_own() -> None:
    assert this_process("task", 300.0).token != this_process("task", 300.0).token


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
def test_no_bytes_make_parse_raise(content: bytes) -> None:
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
    assert state_of(content) is OwnerState.UNKNOWN


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


@pytest.mark.parametrize("pid", [..., None, "1", True, 0, -1, 1.5, [1]])
def test_an_owner_without_a_usable_pid_is_unknown(pid: object) -> None:
    assert state_of(text(pid=pid, host=owner().host)) is OwnerState.NO_PID


@pytest.mark.parametrize("host", [..., None, "", " \u3000", 7, ["h"]])
def test_an_owner_without_a_usable_host_is_unknown(host: object) -> None:
    assert state_of(text(pid=dead_pid(), host=host)) is OwnerState.NO_HOST


def test_a_pid_may_be_spelt_as_any_number_and_a_host_be_padded() -> None:
    content = text(pid=float(dead_pid()), host=f"\ufeff{owner().host}\u00a0")
    assert state_of(content) is OwnerState.DEAD


@pytest.mark.parametrize("pid", [2**31, 2**63, 1e300])
def test_a_pid_that_no_process_can_have_is_not_taken_for_dead(pid: float) -> None:
    assert state_of(text(pid=pid, host=owner().host)) is not OwnerState.DEAD


@pytest.mark.parametrize(
    "content",
    [b" " * LONGEST_RECORD + text(), b'{"more":' + b"[" * 60_000 + b"]" * 60_000 + b"," + text()[1:]],
)
def test_a_text_that_is_too_long_or_too_deep_is_not_judged(content: bytes) -> None:
    assert parse(content) is None
    assert state_of(content) is OwnerState.UNJUDGED


def test_this_process_is_alive() -> None:
    assert not is_gone(owner())


def test_an_ended_process_is_gone() -> None:
    assert is_gone(owner(pid=dead_pid()))


def test_a_process_on_another_host_is_never_gone() -> None:
    assert not is_gone(owner(pid=dead_pid(), host="elsewhere.invalid"))


def test_a_pid_whose_process_started_after_the_lock_was_taken_is_another_process() -> None:
    assert is_gone(owner(acquired_at=at(own_start() - 10)))


@pytest.mark.parametrize("offset", [-2.0, -0.5, 0.0, 10.0])
def test_a_process_that_may_have_been_there_when_the_lock_was_taken_is_alive(offset: float) -> None:
    assert not is_gone(owner(acquired_at=at(own_start() + offset)))


@pytest.mark.parametrize(
    "acquired_at",
    ["", "yesterday", "2001-01-01", "2001-01-01T00:00:00", "20010101T000000Z", "2001-02-30T00:00:00.000Z"],
)
def test_without_a_readable_time_of_acquisition_a_used_pid_may_be_alive(acquired_at: str) -> None:
    assert state_of_owner(owner(acquired_at=acquired_at)) is OwnerState.UNDATED


@pytest.mark.parametrize("acquired_at", ["2001-01-01T01:00:00+01:00", "2001-01-01T00:00:00.123456Z"])
def test_other_spellings_of_a_time_are_read_where_javascript_reads_them_alike(acquired_at: str) -> None:
    assert is_gone(owner(acquired_at=acquired_at))


def test_without_a_readable_start_time_a_used_pid_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "process_start", lambda pid: None)
    assert not is_gone(owner(acquired_at=at(0)))


def test_a_process_that_may_not_be_signalled_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not is_gone(owner(pid=1))
