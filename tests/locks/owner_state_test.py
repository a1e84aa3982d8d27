from __future__ import annotations

import json
import os
from datetime import datetime, timezone

import msgspec
import pytest
from support.processes import dead_pid

from batchpersist import processes
from batchpersist.contract.lock_record import LONGEST_RECORD, Owner
from batchpersist.locks.lock_file import new_owner
from batchpersist.locks.stale_locks import OwnerState, state_of, state_of_owner
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
    return msgspec.structs.replace(new_owner("task", 300.0), **changes)


RECORD = {"kind": "codex-lock-owner", "schema_version": 1, "token": "t", "pid": 1, "host": "h"}


def text(**changes: object) -> bytes:
    """A record's text with some members changed, or left out by ``...``."""
    members = {**RECORD, **changes}
    return json.dumps({name: value for name, value in members.items() if value is not ...}).encode()


@pytest.mark.parametrize("content", [b"", b"{}", text(kind="lock"), text(token="")])
def test_text_that_is_not_a_record_has_an_unknown_owner(content: bytes) -> None:
    assert state_of(content) is OwnerState.UNKNOWN


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
