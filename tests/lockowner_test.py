from __future__ import annotations

import json
import os
import re
from datetime import datetime, timezone

import msgspec
import pytest
from contenders import dead_pid
from hypothesis import given, settings
from hypothesis import strategies as st

from batchpersist import processes
from batchpersist.locking.lockowner import Owner, is_gone, parse, this_process
from batchpersist.processes import process_start


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")


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
@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 2**31 - 1))
def test_a_record_reads_back(task_id: str, pid: int) -> None:
    record = owner(task_id=task_id, pid=pid)
    assert parse(record.encode()) == record


@settings(deadline=None)
@given(st.binary())
def test_no_bytes_make_parse_raise(content: bytes) -> None:
    assert parse(content) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"1234\n",
        b"[]",
        b'{"kind":"codex-lock-owner","token":"t","pid":1,"host":"h"',
        b'{"kind":"another","token":"t","pid":1,"host":"h"}',
        b'{"kind":"codex-lock-owner","token":"t","pid":0,"host":"h"}',
        b'{"kind":"codex-lock-owner","token":"t","pid":-1,"host":"h"}',
        b'{"kind":"codex-lock-owner","token":"t","pid":99999999999999999999,"host":"h"}',
        b'{"kind":"codex-lock-owner","token":"t","pid":true,"host":"h"}',
        b'{"kind":"codex-lock-owner","token":"t","pid":"1","host":"h"}',
        b'{"kind":"codex-lock-owner","token":"t","pid":1}',
        b'{"kind":"codex-lock-owner","token":"t\xff","pid":1,"host":"h"}',
        b'{"x":' + b"[" * 60_000,
    ],
)
def test_what_is_no_owner_record(content: bytes) -> None:
    assert parse(content) is None


def test_an_owner_is_known_by_pid_and_host_even_if_the_rest_is_missing_or_new() -> None:
    found = parse(
        b'{"schema_version":2,"new":[1],"kind":"codex-lock-owner","token":"t","pid":1,"host":"h","stale_ms":0.5}'
    )
    assert found is not None
    assert (found.pid, found.host, found.acquired_at) == (1, "h", "")


def test_this_process_is_alive() -> None:
    assert not is_gone(owner())


def test_an_ended_process_is_gone() -> None:
    assert is_gone(owner(pid=dead_pid()))


def test_a_process_on_another_host_is_never_gone() -> None:
    assert not is_gone(owner(pid=dead_pid(), host="elsewhere.invalid"))


def test_a_pid_whose_process_started_after_the_lock_was_taken_is_another_process() -> None:
    assert is_gone(owner(acquired_at=at(own_start() - 10)))


@pytest.mark.parametrize("offset", [-0.5, 0.0, 10.0])
def test_a_process_that_may_have_been_there_when_the_lock_was_taken_is_alive(offset: float) -> None:
    assert not is_gone(owner(acquired_at=at(own_start() + offset)))


@pytest.mark.parametrize("acquired_at", ["", "yesterday", "2001-01-01", "2001-01-01T00:00:00"])
def test_without_a_readable_time_of_acquisition_a_used_pid_is_alive(acquired_at: str) -> None:
    assert not is_gone(owner(acquired_at=acquired_at))


def test_without_a_readable_start_time_a_used_pid_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "process_start", lambda pid: None)
    assert not is_gone(owner(acquired_at=at(0)))


def test_a_process_that_may_not_be_signalled_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not is_gone(owner(pid=1))
