from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from support.processes import dead_pid, run_together, start_together

from batchpersist.contract import lock_record
from batchpersist.errors import TaskStateLockError
from batchpersist.locks import lock_file
from batchpersist.locks.lock_file import describe_owner
from batchpersist.locks.task_lock import TaskLock
from batchpersist.options import LockPolicy
from batchpersist.paths import Layout

ONCE = LockPolicy(attempts=1)
PATIENT = LockPolicy(attempts=5000, first_delay_seconds=0.001, max_delay_seconds=0.004)
ORCHESTRATOR = Path(__file__).parents[1] / "support" / "orchestrator_lock.mjs"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "out"), str(tmp_path / "runs"))


def make_old(path: str, seconds: float = 600.0) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def plant(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_bytes(content)
    make_old(path)


def files(layout: Layout) -> list[str]:
    """All there is below the runs-dir but folders and the mutex."""
    found = [entry for entry in Path(layout.runs_dir).rglob("*") if not entry.is_dir()]
    return sorted(entry.name for entry in found if entry.name != "break.lock")


def test_the_lock_is_a_file_with_the_owner_s_record_and_nothing_else_is_left(layout: Layout) -> None:
    with TaskLock(layout, "task", LockPolicy(stale_seconds=60)):
        assert files(layout) == ["task.lock"]
        record = json.loads(Path(layout.task_lock("task")).read_bytes())
        assert (record["task_id"], record["pid"], record["stale_ms"]) == ("task", os.getpid(), 60000)
    assert files(layout) == []


def test_a_lock_can_be_taken_again_after_its_release(layout: Layout) -> None:
    lock = TaskLock(layout, "task", ONCE)
    for _ in range(3):
        with lock:
            assert files(layout) == ["task.lock"]
    lock.release()
    assert files(layout) == []


def test_a_lock_is_released_when_its_block_fails(layout: Layout) -> None:
    with pytest.raises(KeyError), TaskLock(layout, "task"):
        raise KeyError
    assert files(layout) == []


def test_it_is_not_reentrant(layout: Layout) -> None:
    with TaskLock(layout, "task") as lock:
        with pytest.raises(RuntimeError, match="held already"):
            lock.acquire()
        assert files(layout) == ["task.lock"]


def test_tasks_do_not_hinder_each_other(layout: Layout) -> None:
    with TaskLock(layout, "a", ONCE), TaskLock(layout, "b", ONCE):
        assert files(layout) == ["a.lock", "b.lock"]


def test_an_uncontended_lock_never_sleeps(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("slept"))
    with TaskLock(layout, "task"):
        pass


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (LockPolicy(), [0.1, 0.2, 0.4, 0.8]),
        (LockPolicy(attempts=8), [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]),
        (LockPolicy(attempts=1), []),
        (LockPolicy(attempts=3, first_delay_seconds=2.0), [1.0, 1.0]),
    ],
)
def test_attempts_and_delays_are_the_policy_s(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, policy: LockPolicy, expected: list[float]
) -> None:
    slept: list[float] = []
    with TaskLock(layout, "task"):
        monkeypatch.setattr(time, "sleep", slept.append)
        with pytest.raises(TaskStateLockError):
            TaskLock(layout, "task", policy).acquire()
    assert slept == expected


def test_a_lock_that_comes_free_meanwhile_is_taken(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    other = TaskLock(layout, "task")
    other.acquire()
    monkeypatch.setattr(time, "sleep", lambda seconds: other.release())
    with TaskLock(layout, "task", LockPolicy(attempts=2)):
        assert files(layout) == ["task.lock"]


def test_being_locked_out_names_the_file_and_its_describe_owner(layout: Layout) -> None:
    with TaskLock(layout, "task"):
        with pytest.raises(TaskStateLockError) as caught:
            TaskLock(layout, "task", ONCE).acquire()
        assert caught.value.message == "task is locked"
        path = layout.task_lock("task")
        assert caught.value.detail == f"{path} held by {describe_owner(path)}"
        assert f"{os.getpid()}@" in caught.value.detail
        assert files(layout) == ["task.lock"]


def test_a_gate_that_another_holds_keeps_out_as_well(layout: Layout) -> None:
    gate = layout.task_lock_gate("task")
    plant(gate, lock_file.new_owner("task", 300).encode())
    with pytest.raises(TaskStateLockError, match=r"task\.lock\.acquire held by \d+@"):
        TaskLock(layout, "task", ONCE).acquire()
    assert files(layout) == ["task.lock.acquire"]


@pytest.mark.parametrize("stale", ["lock", "gate", "both"])
def test_what_a_dead_process_left_is_cleared(layout: Layout, stale: str) -> None:
    record = lock_record.Owner(
        kind=lock_record.KIND, token="t", pid=dead_pid(), host=lock_file.new_owner("", 1).host
    ).encode()
    if stale != "gate":
        plant(layout.task_lock("task"), record)
    if stale != "lock":
        plant(layout.task_lock_gate("task"), record)
    with TaskLock(layout, "task", ONCE):
        assert str(os.getpid()) in describe_owner(layout.task_lock("task"))
        assert files(layout) == ["task.lock"]
    assert files(layout) == []


def test_a_live_holder_s_lock_is_not_broken_however_old(layout: Layout) -> None:
    with TaskLock(layout, "task") as lock:
        make_old(layout.task_lock("task"), 1e6)
        with pytest.raises(TaskStateLockError):
            TaskLock(layout, "task", ONCE).acquire()
        assert files(layout) == ["task.lock"]
        assert lock is not None


HOLD_AND_WAIT = """
import sys
from batchpersist.paths import Layout
from batchpersist.locks.task_lock import TaskLock
TaskLock(Layout(*sys.argv[1:]), "task").acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_killed_holder_locks_out_until_its_file_is_old(layout: Layout) -> None:
    command = [sys.executable, "-c", HOLD_AND_WAIT, layout.out_dir, layout.runs_dir]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        make_old(layout.task_lock("task"))
        with pytest.raises(TaskStateLockError):  # old, but alive
            TaskLock(layout, "task", ONCE).acquire()
        process.send_signal(signal.SIGKILL)
    os.utime(layout.task_lock("task"))
    with pytest.raises(TaskStateLockError):  # dead, but not old
        TaskLock(layout, "task", ONCE).acquire()
    make_old(layout.task_lock("task"))
    with TaskLock(layout, "task", ONCE):
        pass
    assert files(layout) == []


def test_a_planted_symbolic_link_is_not_followed(layout: Layout, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    os.utime(victim, (1000, 1000))
    os.makedirs(layout.runs_dir)
    os.symlink(victim, layout.task_lock("task"))
    with pytest.raises(TaskStateLockError, match="no lock file"):
        TaskLock(layout, "task", ONCE).acquire()
    assert os.path.islink(layout.task_lock("task"))
    assert victim.read_bytes() == b""
    assert victim.stat().st_mtime == 1000


@pytest.mark.parametrize("loss", ["removed", "another's"])
def test_a_lock_lost_while_held_is_a_warning_and_the_file_is_left(
    layout: Layout, caplog: pytest.LogCaptureFixture, loss: str
) -> None:
    lock = TaskLock(layout, "task")
    lock.acquire()
    os.unlink(layout.task_lock("task"))
    if loss == "another's":
        plant(layout.task_lock("task"), lock_file.new_owner("task", 300).encode())
    before = files(layout)
    with caplog.at_level(logging.WARNING):
        assert not lock.release()
    assert "lost while held" in caplog.text
    assert files(layout) == before


def test_a_block_in_which_the_lock_was_lost_ends_with_an_error(layout: Layout) -> None:
    with pytest.raises(TaskStateLockError, match="lost while held"), TaskLock(layout, "task"):
        os.unlink(layout.task_lock("task"))


def test_an_error_of_the_block_is_not_hidden_by_a_lost_lock(layout: Layout) -> None:
    def lose_and_fail() -> None:
        with TaskLock(layout, "task"):
            os.unlink(layout.task_lock("task"))
            raise ValueError("of the block")

    with pytest.raises(ValueError, match="of the block"):
        lose_and_fail()


def test_a_file_in_the_way_of_the_runs_dir_is_its_own_error(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(NotADirectoryError):
        TaskLock(layout, "task", ONCE).acquire()


@pytest.mark.parametrize("failing", ["task.lock.acquire", "task.lock"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EIO])
def test_what_is_not_contention_is_raised_as_it_is_and_leaves_nothing(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, failing: str, code: int
) -> None:
    link = os.link

    def fail(source: str, target: str) -> None:
        if os.path.basename(target) == failing:
            raise OSError(code, os.strerror(code), target)
        link(source, target)

    monkeypatch.setattr(os, "link", fail)
    lock = TaskLock(layout, "task")
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        lock.acquire()
    assert caught.value.errno == code
    assert files(layout) == []
    monkeypatch.undo()
    with lock:
        assert files(layout) == ["task.lock"]


def test_an_interrupt_while_acquiring_leaves_nothing(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: str, token: str) -> bool:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(lock_file, "remove", interrupt)  # the gate is about to be dropped, the lock is ours
    with pytest.raises(KeyboardInterrupt):
        TaskLock(layout, "task").acquire()
    assert files(layout) == []


def test_without_hard_links_it_works_as_well(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), target)

    monkeypatch.setattr(os, "link", refuse)
    with TaskLock(layout, "task"):
        assert str(os.getpid()) in describe_owner(layout.task_lock("task"))
        with pytest.raises(TaskStateLockError):
            TaskLock(layout, "task", ONCE).acquire()
    assert files(layout) == []


def test_a_held_lock_stays_fresh(layout: Layout) -> None:
    with TaskLock(layout, "task", LockPolicy(stale_seconds=0.2)):
        path = Path(layout.task_lock("task"))
        make_old(str(path))
        for _ in range(1000):
            if path.stat().st_mtime > time.time() - 60:
                break
            time.sleep(0.01)
        else:
            pytest.fail("it was never refreshed")


def test_a_forked_child_does_not_release_its_parent_s_lock(layout: Layout) -> None:
    lock = TaskLock(layout, "task", ONCE)
    with lock:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12: forking beside a thread
            pid = os.fork()
        if pid == 0:
            code = 1
            try:
                lock.release()
                lock.acquire()  # it is not the child's, so this is contention, not reentrance
            except TaskStateLockError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert files(layout) == ["task.lock"]


# Mutual exclusion. All increment the number in one file by reading and writing it: an increment is lost
# whenever two do so at once.


def increment(counter: Path) -> None:
    number = int(counter.read_text() or 0)  # empty while another writes
    time.sleep(0.0005)
    counter.write_text(str(number + 1))


def increment_locked(layout: Layout, counter: Path, rounds: int) -> None:
    lock = TaskLock(layout, "task", PATIENT)
    for _ in range(rounds):
        with lock:
            increment(counter)


def increment_unlocked(counter: Path, rounds: int) -> None:
    for _ in range(rounds):
        increment(counter)


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    path = tmp_path / "counter"
    path.write_text("0")
    return path


def test_processes_exclude_each_other(layout: Layout, counter: Path) -> None:
    run_together(increment_locked, 6, layout, counter, 25)
    assert counter.read_text() == "150"
    assert files(layout) == []


def test_control_without_the_lock_increments_are_lost(counter: Path) -> None:
    threads = [threading.Thread(target=increment_unlocked, args=(counter, 50)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int(counter.read_text()) != 200, "too few, or too many by a torn write"


def test_threads_exclude_each_other(layout: Layout, counter: Path) -> None:
    threads = [threading.Thread(target=increment_locked, args=(layout, counter, 25)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read_text() == "100"


def test_nobody_ever_sees_a_lock_file_without_its_record(layout: Layout) -> None:
    done = threading.Event()
    seen: set[bool] = set()

    def watch() -> None:
        while not done.is_set():
            for path in (layout.task_lock("task"), layout.task_lock_gate("task")):
                found = lock_file.read_lock(path)
                if found is not None and found.content is not None:
                    seen.add(lock_record.parse(found.content) is not None)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(30_000):
        with TaskLock(layout, "task"):
            pass
        if number >= 300 and seen:  # held for an instant, it may be missed some hundred times
            break
    done.set()
    watcher.join()
    assert seen == {True}


@pytest.mark.parametrize("generation", ["published", "owner-records"])
def test_the_orchestrator_and_batchpersist_exclude_each_other(
    layout: Layout, counter: Path, orchestrator_package: Path, generation: str
) -> None:
    rounds = 50
    os.makedirs(layout.runs_dir)
    wait = start_together(increment_locked, 2, layout, counter, rounds)
    command = ["node", str(ORCHESTRATOR), str(orchestrator_package), generation]
    command += [layout.runs_dir, "task", str(counter), str(rounds)]
    nodes = [subprocess.Popen(command) for _ in range(2)]
    codes = [node.wait(60) for node in nodes]
    wait()
    assert codes == [0, 0]
    assert counter.read_text() == str(4 * rounds)
    assert files(layout) == []


def test_a_process_that_is_to_end_takes_no_more_locks_and_waits_for_those_in_use(tmp_path: Path) -> None:
    code = """
import os, sys, threading
from batchpersist.errors import TaskStateLockError
from batchpersist.paths import Layout
from batchpersist.locks.task_lock import TaskLock, stop_locking
layout = Layout("", sys.argv[1])
lock = TaskLock(layout, "a")
lock.acquire()
threading.Timer(0.2, lock.release).start()
stop_locking(30)
assert not os.path.exists(layout.task_lock("a"))
try:
    TaskLock(layout, "b").acquire()
except TaskStateLockError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "task is locked: this process is ending\n"
