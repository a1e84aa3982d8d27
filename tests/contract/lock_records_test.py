"""No lock is cleared that an orchestrator keeps, be it the published one or one that writes owner records."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from support.processes import dead_pid

from batchpersist.contract import lock_record
from batchpersist.locks import lock_file, stale_locks
from batchpersist.locks.stale_locks import CLEARED_WHEN_OLD, OwnerState, clear_stale, is_old, state_of_lock
from batchpersist.processes import process_start
from batchpersist.timestamps import utc_text

STALE = 300.0
JUDGES = Path(__file__).with_name("lock_judges.mjs")
ABSENT = object()
NOTE = Path(__file__).parents[2] / "docs/decisions/0019-lock-records.md"


@pytest.fixture(scope="module")
def live_pid() -> Iterator[int]:
    """Of a process that outlives all judges."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")


@dataclass
class Records:
    """Makes texts of lock files: whole records, with one member or more missing or odd, and other texts."""

    random: random.Random
    live: int
    dead: int

    def text(self) -> bytes:
        if self.random.random() < 0.15:
            return self._other()
        record = self._record()
        for name in self.random.choices(list(record), k=self.random.choice([0, 0, 1, 1, 2])):
            record[name] = self._odd(name)
        members = {name: value for name, value in record.items() if value is not ABSENT}
        text = json.dumps(members, ensure_ascii=self.random.random() < 0.5).encode("utf-8", "surrogatepass")
        return self._spell(text)

    def _record(self) -> dict[str, Any]:
        pid = self.random.choice([self.live, self.dead])
        return {
            "schema_version": self.random.choice([1, 1, 1.0]),
            "kind": "codex-lock-owner",
            "token": "8d5c2e34-1f7c-4b86-93d6-2f7f6b1f6a11",
            "task_id": "task",
            "pid": self.random.choice([pid, pid, float(pid)]),
            "host": self.random.choice([socket.gethostname()] * 4 + ["another"]),
            "acquired_at": self._moment(),
            "stale_ms": self.random.choice([300_000, None]),
        }

    def _moment(self) -> str:
        """Before the live process began, while it ran, or around the tolerance."""
        start = process_start(self.live)
        assert start is not None
        offset = self.random.choice([-1e6, -10.0, -4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0, 0.0, 5.0, 1e6])
        return text_of(start + offset)

    def _odd(self, name: str) -> object:
        start = text_of(time.time() - 1e6)
        own: dict[str, list[object]] = {
            "schema_version": [2, 0, "1", True, 1.5],
            "kind": ["codex-lock", "Codex-Lock-Owner", " codex-lock-owner"],
            "token": ["", "  ", "\ufeff", " padded ", "\ud800"],
            "pid": [0, -1, 1.5, str(self.live), self.dead + 0.0, 2**31, 2**53, 1e300, os.getppid(), 1],
            "host": ["", " ", f" {socket.gethostname()}\u00a0", socket.gethostname().upper() + "x", "\x85"],
            "acquired_at": [
                *("", "yesterday", "2001-02-30T00:00:00.000Z", "2001-01-01", "2001-01-01T00:00:00"),
                *("20010101T000000Z", "2001-W01-1T00:00:00Z", "2001-01-01T00:00:00.123456Z"),
                *("Mon, 01 Jan 2001 00:00:00 GMT", "2001-01-01T00:00:00+01:00", start[:16] + "Z"),
                *(start.lower(), f" {start}\n", start.replace("T", " ")),
            ],
        }  # fmt: skip
        odd = [ABSENT, None, True, 7, 1.5, "text", [], {}, [1], {"a": None}]
        return self.random.choice(own.get(name, odd) if self.random.random() < 0.6 else odd)

    def _spell(self, text: bytes) -> bytes:
        choice = self.random.random()
        if choice < 0.6:
            return text + b"\n"
        numbers = [b"NaN", b"1e999", b"1" * 5000, b"01", b".5"]
        spellings: list[Callable[[], bytes]] = [
            lambda: b"\xef\xbb\xbf" + text,
            lambda: b"\xc2\xa0\n\t" + text + b"\xe3\x80\x80\xef\xbb\xbf",
            lambda: b"\x1c" + text,  # white space to Python only
            lambda: text + b"\x00",
            lambda: text[: self.random.randrange(len(text))],
            lambda: text.replace(b"task", b"t\xffsk"),
            lambda: text.replace(b"{", b'{"token": 5, "pid": null, "host": "another", ', 1),
            lambda: text[:-1] + b', "pid": ' + b"%d" % self.random.choice([self.live, self.dead]) + b"}",
            lambda: text[:-1] + b', "kind": "codex-lock-owner", "schema_version": 1e0}',
            lambda: text.replace(b": ", b" :\r\n\t"),
            lambda: text[:-1] + b', "more": ' + self.random.choice(numbers) + b"}",
            lambda: text[:-1] + b', "more": "' + b"x" * self.random.choice([100_000, 2_000_000]) + b'"}',
            lambda: text[:-1] + b', "more": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        ]  # fmt: skip
        return self.random.choice(spellings)()

    def _other(self) -> bytes:
        return self.random.choice(
            [
                b"",
                b"\n",
                b"8d5c2e34-1f7c-4b86-93d6-2f7f6b1f6a11",  # all that the published orchestrator writes
                b"12345\n",
                b"null",
                b"[]",
                b'"codex-lock-owner"',
                b"{}",
                b"\xff\xfe{\x00}\x00",
                self.random.randbytes(40),
            ]
        )

    def age(self) -> float:
        """Seconds since the file was refreshed."""
        return self.random.choice(
            [-1e6, -1.0, 0.0, 150.0, STALE - 60, STALE + 0.01, STALE + 60, 1e4, 1e7, 1.7e9]
        )


def text_of(seconds: float) -> str:
    return utc_text(datetime.fromtimestamp(seconds, timezone.utc))


class Strict(msgspec.Struct):
    """What a strict reader asks of a record. All else it takes for no record at all."""

    kind: Literal["codex-lock-owner"]
    token: str
    pid: int
    host: str
    acquired_at: str = ""
    stale_ms: float = 0


def strict_state(content: bytes) -> OwnerState:
    try:
        record = msgspec.json.decode(content, type=Strict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return OwnerState.UNKNOWN
    return stale_locks.state_of_owner(
        lock_record.Owner(token="t", pid=record.pid, host=record.host, acquired_at=record.acquired_at)
    )


@dataclass
class Judged:
    """How files were judged: by us when they were as the orchestrator found them, then by it."""

    cleared: dict[str, bool]
    old: set[str]
    states: dict[str, OwnerState]
    strictly: dict[str, OwnerState]
    """What a strict reader would have said."""
    theirs: dict[str, dict[str, Any]]

    def wrongly_cleared(self) -> list[str]:
        return [name for name, cleared in self.cleared.items() if cleared and not self._clear(name)]

    def _clear(self, name: str) -> bool:
        """Whether both generations of the orchestrator clear it."""
        verdict = self.theirs[name]
        return verdict["cleared"] and verdict["old"] and not verdict["record"]

    def kept_beyond(self) -> Counter[tuple[OwnerState, str]]:
        """What we keep and the published orchestrator clears, by our cause and that of the record's rules."""
        return Counter(
            (self.states[name], verdict["record"] or "none")
            for name, verdict in self.theirs.items()
            if verdict["cleared"] and name in self.old and not self.cleared[name]
        )


def judge(folder: Path, count: int, live_pid: int, package: Path) -> Judged:
    records = Records(random.Random(1), live_pid, dead_pid())
    ours, theirs = folder / "ours", folder / "theirs"
    ours.mkdir()
    theirs.mkdir()
    for number in range(count):
        path = ours / f"{number}.lock"
        path.write_bytes(records.text())
        moment = time.time() - records.age()
        os.utime(path, (moment, moment))
        shutil.copy2(path, theirs)
    old, states, strictly = set(), {}, {}
    for path in ours.iterdir():
        seen = lock_file.read_lock(str(path))
        assert seen is not None
        assert seen.content is not None
        if is_old(seen, STALE):
            old.add(path.name)
        states[path.name], strictly[path.name] = state_of_lock(seen), strict_state(seen.content)
    # We first: what becomes old meanwhile is kept by us, and cleared by them.
    cleared = {
        path.name: clear_stale(str(path), str(folder / "mutex"), STALE) for path in list(ours.iterdir())
    }
    assert all((ours / name).exists() != gone for name, gone in cleared.items())
    command = ["node", str(JUDGES), str(package), str(theirs), str(STALE * 1000)]
    verdicts = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert len(verdicts) == count
    return Judged(cleared, old, states, strictly, verdicts)


@pytest.fixture(scope="module")
def judged(
    tmp_path_factory: pytest.TempPathFactory, orchestrator_package: Path, live_pid: int, full: bool
) -> Judged:
    return judge(tmp_path_factory.mktemp("locks"), 30_000 if full else 2000, live_pid, orchestrator_package)


def test_nothing_is_cleared_that_either_generation_of_the_orchestrator_keeps(
    judged: Judged, tally: Callable[[str, int], None]
) -> None:
    tally("lock records: judged", len(judged.cleared))
    tally("lock records: cleared", sum(judged.cleared.values()))
    assert judged.wrongly_cleared() == []
    assert sum(judged.cleared.values()) > len(judged.cleared) / 10


def test_no_owner_is_called_dead_whose_record_keeps_its_lock(judged: Judged) -> None:
    """``locks unlock`` takes a lock from a dead owner before it is old."""
    alive = [name for name, verdict in judged.theirs.items() if verdict["record"]]
    assert len(alive) > len(judged.theirs) / 10
    assert {judged.states[name] for name in alive}.isdisjoint(CLEARED_WHEN_OLD)


def test_control_a_strict_reader_would_clear_what_is_kept(
    judged: Judged, tally: Callable[[str, int], None]
) -> None:
    wrong = [
        name
        for name, verdict in judged.theirs.items()
        if verdict["record"] and verdict["old"] and judged.strictly[name] in CLEARED_WHEN_OLD
    ]
    tally("lock records: cleared wrongly by a strict reader", len(wrong))
    assert len(wrong) > len(judged.theirs) / 100


def test_what_we_keep_and_the_orchestrator_clears_is_what_the_decision_lists(
    judged: Judged, tally: Callable[[str, int], None]
) -> None:
    kept = judged.kept_beyond()
    for (state, why), count in kept.items():
        tally(
            f"lock records: kept beyond the published orchestrator, {state.value}; by the rules: {why}", count
        )
    listed = re.findall(r"^\| `([^`]+)` \| [\d,]+ \|", NOTE.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted({state.value for state, _ in kept})
    beyond_the_rules = {state for state, why in kept if why == "none"}
    assert beyond_the_rules <= {OwnerState.ALIVE, OwnerState.UNDATED, OwnerState.UNJUDGED}
    assert sum(count for (_, why), count in kept.items() if why == "none") < len(judged.theirs) / 20
