from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import msgspec
import pytest
from filelock import FileLock
from support.processes import SPAWN, dead_pid, run_together

from batchpersist.contract.lock_record import Owner
from batchpersist.errors import TaskStateLockError
from batchpersist.locks import stale_locks
from batchpersist.locks.lock_file import new_owner
from batchpersist.locks.stale_locks import clear_abandoned, clear_stale
from batchpersist.locks.task_lock import TaskLock
from batchpersist.options import LockPolicy
from batchpersist.paths import Layout

STALE = 300.0
CONTENDERS = 6
WINDOW = 0.01
"""Seconds by which the moment between judging and removing is stretched."""


def plant(path: Path, content: bytes, *, age: float = 2 * STALE) -> None:
    path.write_bytes(content)
    then = time.time() - age
    os.utime(path, (then, then))


def owner(**changes: object) -> Owner:
    return msgspec.structs.replace(new_owner("task", STALE), **changes)


def cleared(path: Path) -> bool:
    return clear_stale(str(path), str(path.with_name("mutex")), STALE)


def test_a_dead_owner_s_old_file_is_cleared(tmp_path: Path) -> None:
    plant(tmp_path / "lock", owner(pid=dead_pid()).encode())
    assert cleared(tmp_path / "lock")
    assert not (tmp_path / "lock").exists()


def test_a_path_without_a_file_is_free(tmp_path: Path) -> None:
    assert cleared(tmp_path / "lock")
    assert not (tmp_path / "mutex").exists()


@pytest.mark.parametrize(
    "garbage", [b"", b"1234\n", b'{"kind":"codex-lock-ow', b"\xff" * 100_000, b"6f1c7f0e-1f0e"]
)
def test_a_lock_without_a_record_is_cleared_only_when_old(tmp_path: Path, garbage: bytes) -> None:
    plant(tmp_path / "lock", garbage, age=STALE - 10)
    assert not cleared(tmp_path / "lock")
    assert (tmp_path / "lock").read_bytes() == garbage
    plant(tmp_path / "lock", garbage)
    assert cleared(tmp_path / "lock")


def test_a_dead_owner_s_young_file_stays(tmp_path: Path) -> None:
    plant(tmp_path / "lock", owner(pid=dead_pid()).encode(), age=STALE - 10)
    assert not cleared(tmp_path / "lock")


@pytest.mark.parametrize("age", [2 * STALE, 1e9])
def test_a_live_owner_s_file_stays_however_old(tmp_path: Path, age: float) -> None:
    plant(tmp_path / "lock", owner().encode(), age=age)
    assert not cleared(tmp_path / "lock")
    assert (tmp_path / "lock").exists()


def test_another_host_s_file_stays(tmp_path: Path) -> None:
    plant(tmp_path / "lock", owner(pid=dead_pid(), host="elsewhere.invalid").encode())
    assert not cleared(tmp_path / "lock")


def test_a_file_from_the_future_stays(tmp_path: Path) -> None:
    plant(tmp_path / "lock", b"", age=-2 * STALE)
    assert not cleared(tmp_path / "lock")


def test_a_reused_pid_does_not_keep_the_file(tmp_path: Path) -> None:
    plant(tmp_path / "lock", owner(acquired_at="2001-01-01T00:00:00.000Z").encode())
    assert cleared(tmp_path / "lock")


def test_a_symbolic_link_is_neither_followed_nor_cleared(tmp_path: Path) -> None:
    plant(tmp_path / "target", b"")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    os.utime(tmp_path / "lock", (1000, 1000), follow_symlinks=False)
    assert not cleared(tmp_path / "lock")
    assert (tmp_path / "lock").is_symlink()
    assert (tmp_path / "target").exists()


def test_an_unreadable_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError

    monkeypatch.setattr(stale_locks, "read_lock", refuse)
    assert not cleared(tmp_path / "lock")


@pytest.mark.parametrize("change", ["replaced", "touched", "rewritten"])
def test_a_file_that_changed_since_it_was_judged_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    lock = tmp_path / "lock"
    plant(lock, b"stale", age=1000)
    judge = stale_locks.is_stale

    def judge_while_another_acts(seen: stale_locks.FoundLock, stale_seconds: float) -> bool:
        verdict = judge(seen, stale_seconds)
        if change == "replaced":
            plant(tmp_path / "new", b"stale", age=0)
            os.utime(tmp_path / "new", ns=(0, seen.mtime_ns))
            os.replace(tmp_path / "new", lock)
        elif change == "touched":
            os.utime(lock)
        else:
            lock.write_bytes(b"fresh")
            os.utime(lock, ns=(0, seen.mtime_ns))
        return verdict

    monkeypatch.setattr(stale_locks, "is_stale", judge_while_another_acts)
    assert not cleared(lock)
    assert lock.exists()


def test_a_file_that_went_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path / "lock", b"")
    monkeypatch.setattr(stale_locks, "is_stale", lambda seen, seconds: not (tmp_path / "lock").unlink())
    assert not cleared(tmp_path / "lock")


def test_while_another_breaks_nothing_is_broken(tmp_path: Path) -> None:
    plant(tmp_path / "lock", b"")
    with FileLock(tmp_path / "mutex"):
        assert not cleared(tmp_path / "lock")
    assert cleared(tmp_path / "lock")


# Many rounds, in each of which all contenders find the same stale files at once and whoever gets the lock
# keeps it until all have tried. ``winners`` has a line for each of them.

Take = Callable[[Path], bool]


def contend(barrier: Barrier, folder: Path, rounds: int, take: Take) -> None:
    judge = stale_locks.is_stale

    def judge_slowly(seen: stale_locks.FoundLock, stale_seconds: float) -> bool:
        verdict = judge(seen, stale_seconds)
        linger()
        return verdict

    stale_locks.is_stale = judge_slowly  # this process serves no other test
    for number in range(rounds):
        barrier.wait(20)
        if take(folder / str(number)):
            with open(folder / "winners", "a") as winners:
                winners.write(f"{number}\n")
        barrier.wait(20)


def linger() -> None:
    """Differently long in each process, so that some judge while others have removed and placed already."""
    time.sleep(WINDOW * (os.getpid() % CONTENDERS) / CONTENDERS)


def take_ours(root: Path) -> bool:
    try:
        # Never released: the next round has a folder of its own.
        TaskLock(Layout(str(root), str(root)), "task", LockPolicy(3, WINDOW, WINDOW, STALE)).acquire()
    except TaskStateLockError:
        return False
    return True


def take_naively(root: Path) -> bool:
    lock = root / "task.lock"
    try:
        if time.time() - lock.stat().st_mtime > STALE:
            linger()
            lock.unlink()
    except FileNotFoundError:
        pass
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def winners(folder: Path, rounds: int, take: Take) -> list[int]:
    """How many got the lock, by round."""
    dead = owner(pid=dead_pid()).encode()
    for number in range(rounds):
        root = folder / str(number)
        root.mkdir()
        plant(root / "task.lock", dead)
        if number % 2:  # of a process that died while it was clearing the other
            plant(root / "task.lock.acquire", dead)
    barrier = SPAWN.Barrier(CONTENDERS)
    run_together(contend, CONTENDERS, barrier, folder, rounds, take)
    won = (folder / "winners").read_text().split()
    return [won.count(str(number)) for number in range(rounds)]


def test_of_many_who_break_a_stale_lock_at_once_one_gets_it(tmp_path: Path) -> None:
    won = winners(tmp_path, 40, take_ours)
    assert max(won) == 1
    assert won.count(1) > 30  # that all give up is allowed, and seldom


def test_control_the_same_contest_has_several_winners_with_a_naive_break(tmp_path: Path) -> None:
    assert max(winners(tmp_path, 20, take_naively)) > 1


@pytest.mark.parametrize("host", ['"another"', "null", '""'])
@pytest.mark.parametrize("pid", ['"12"', "1.5", "null"])
def test_an_odd_record_is_never_broken(tmp_path: Path, pid: str, host: str) -> None:
    record = (
        f'{{"kind": "codex-lock-owner", "schema_version": 1, "token": "t", "pid": {pid}, "host": {host}}}'
    )
    plant(tmp_path / "t.lock", record.encode(), age=1e9)
    assert not cleared(tmp_path / "t.lock")
    assert (tmp_path / "t.lock").exists()


def test_a_lock_is_old_by_a_clock_of_whole_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_800_000_000_000_999_999
    monkeypatch.setattr(time, "time_ns", lambda: now)
    limit = int(STALE * 1e9)
    assert not stale_locks.is_old(stale_locks.FoundLock(1, 1, now - limit - 999_999, b""), STALE)
    assert stale_locks.is_old(stale_locks.FoundLock(1, 1, now - limit - 1_000_500, b""), STALE)


@pytest.mark.parametrize("changes", [{"host": ""}, {"host": "another"}, {"pid": os.getpid()}])
def test_only_a_worker_that_is_dead_for_certain_has_abandoned_its_lock(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    dead = dead_pid()
    plant(tmp_path / "lock", owner(**{"pid": dead, **changes}).encode(), age=0)
    assert not clear_abandoned(str(tmp_path / "lock"), str(tmp_path / "mutex"), {dead, os.getpid()})
    plant(tmp_path / "lock", owner(pid=dead).encode(), age=0)
    assert clear_abandoned(str(tmp_path / "lock"), str(tmp_path / "mutex"), {dead})
