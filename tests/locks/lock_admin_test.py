"""Who holds which lock; and that a lock is taken from the dead only, beside a live orchestrator too."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from batchpersist.cli.main import cli
from batchpersist.errors import LockHeldError, UsageError
from batchpersist.locks import admin
from batchpersist.locks.admin import LockState, list_locks, unlock
from batchpersist.locks.batch_lock import BatchLock
from batchpersist.locks.stale_locks import OwnerState
from batchpersist.locks.task_lock import TaskLock
from batchpersist.options import LockPolicy
from batchpersist.paths import Layout

ORCHESTRATOR = Path(__file__).parents[1] / "support" / "orchestrator_lock.mjs"
ROOT = Layout("out", ".runs")
HASTY = LockPolicy(attempts=1)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".runs").mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def leave(name: str, pid: Any, *, host: str = "", age: float = 0, **more: Any) -> Path:
    """A lock file as somebody left it."""
    record = {
        "schema_version": 1, "kind": "codex-lock-owner", "token": "his", "task_id": "t", "pid": pid,
        "host": host or socket.gethostname(), "acquired_at": "2026-01-01T00:00:00.000Z", "stale_ms": 300_000,
        **more,
    }  # fmt: skip
    return leave_text(name, json.dumps(record) + "\n", age=age)


def leave_text(name: str, text: str, *, age: float = 0) -> Path:
    path = Path(".runs", name)
    path.write_text(text)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def states(**by_task: Any) -> dict[str, LockState]:
    return {os.path.basename(state.path): state for state in list_locks(ROOT)}


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, ["locks", *words], catch_exceptions=False)


# Looking


def test_owners_are_distinguished_and_stale_means_what_the_contract_says(dead_pid: int) -> None:
    leave("dead.lock", dead_pid)
    leave("stale.lock", dead_pid, age=301)
    leave("far.lock", dead_pid, host="another", age=301)
    leave("odd.lock", "12", age=301)
    leave("undated.lock", os.getpid(), acquired_at="yesterday", age=301)
    leave("nobody's.lock", dead_pid, host=" ", age=301)
    leave_text("empty.lock", "")
    leave_text("old-empty.lock", "", age=301)
    leave("gated.lock.acquire", dead_pid)
    Path(".runs/folder.lock").mkdir()
    Path(".runs/a-task").mkdir()
    with TaskLock(ROOT, "mine"):
        found = {name: (state.owner, state.stale) for name, state in states().items()}
        mine = states()["mine.lock"]
    assert found == {
        "dead.lock": (OwnerState.DEAD, False),
        "stale.lock": (OwnerState.DEAD, True),
        "far.lock": (OwnerState.ELSEWHERE, False),
        "odd.lock": (OwnerState.NO_PID, False),
        "undated.lock": (OwnerState.UNDATED, False),
        "nobody's.lock": (OwnerState.NO_HOST, False),
        "empty.lock": (OwnerState.UNKNOWN, False),
        "old-empty.lock": (OwnerState.UNKNOWN, True),
        "gated.lock.acquire": (OwnerState.DEAD, False),
        "folder.lock": (OwnerState.NO_LOCK, False),
        "mine.lock": (OwnerState.ALIVE, False),
    }
    assert (mine.task_id, mine.is_gate, mine.pid) == ("mine", False, os.getpid())
    assert states()["gated.lock.acquire"].task_id == "gated"
    why = {name: state.kept_because for name, state in states().items()}
    assert why["stale.lock"] == why["old-empty.lock"] == ""
    assert why["dead.lock"] == why["empty.lock"] == "it was refreshed within 300 s"
    assert why["far.lock"] == "its owner may be alive on another host"
    assert why["odd.lock"] == "its record names no process, so that its owner may be alive"
    assert why["undated.lock"] == "a process has its owner's pid, and the record has no readable time"
    assert states()["stale.lock"].age_seconds == pytest.approx(301, abs=60)


def test_the_list_for_a_person_and_for_programs(dead_pid: int) -> None:
    leave("billing.lock", dead_pid, age=400)
    leave("x.lock", dead_pid, host="an\x1b[31mother")
    with BatchLock(ROOT, "batch of the night"):
        result = invoke("list")
        objects = [json.loads(line) for line in invoke("list", "--json").stdout.splitlines()]
    lines = result.stdout.splitlines()
    assert lines[0].startswith(
        "The batch lock .runs/.batchpersist/batch.lock is held by batch of the night ("
    )
    assert lines[2].split() == [
        "billing", "lock", f"{dead_pid}@{socket.gethostname()}", "2026-01-01T00:00:00.000Z",
        "7", "min", "dead", "yes", "-",
    ]  # fmt: skip
    assert lines[3].endswith("its owner may be alive on another host")
    assert lines[-1] == "2 locks in .runs, 1 stale."
    assert "\x1b" not in result.stdout
    assert [item["message_type"] for item in objects] == ["batch_lock", "lock", "lock"]
    assert (objects[1]["owner"], objects[1]["stale"]) == ("dead", True)
    assert objects[0]["pid"] == os.getpid()
    assert invoke("list").stdout.splitlines()[0].startswith("task ")  # nobody holds the batch lock now


def test_a_root_that_is_not_there() -> None:
    assert invoke("list", "--runs-dir", "absent").exit_code == 10
    assert invoke("unlock", "task", "--runs-dir", "absent").exit_code == 10
    assert not Path("absent").exists()


# Unlocking


@pytest.mark.parametrize("name", ["task.lock", "task.lock.acquire"])
def test_a_dead_owner_loses_lock_and_gate(name: str, dead_pid: int) -> None:
    leave(name, dead_pid)
    result = invoke("unlock", "task")
    assert result.exit_code == 0
    what = "gate" if name.endswith("acquire") else "lock"
    assert result.stdout == f"Removed the {what} of task task: {dead_pid}@{socket.gethostname()}, dead.\n"
    assert states() == {}
    with TaskLock(ROOT, "task"):
        pass
    assert invoke("unlock", "task").stdout == "Task task is not locked.\n"


def test_a_live_owner_keeps_it_unless_forced() -> None:
    lock = TaskLock(ROOT, "task")
    lock.acquire()
    result = invoke("unlock", "task")
    assert result.exit_code == 11
    assert "task.lock is left alone: held by" in result.stderr
    assert "; its owner is alive" in result.stderr
    assert list(states()) == ["task.lock"]
    events = [json.loads(line) for line in invoke("unlock", "task", "--force", "--json").stdout.splitlines()]
    assert [(event["message_type"], event["owner"]) for event in events] == [("unlocked", "alive")]
    assert states() == {}
    lock.release()  # it was lost; the owner is told by a warning, and removes nobody's


@pytest.mark.parametrize(
    ("file", "age", "refused"),
    [
        ({"host": "another"}, 1000, "its owner may be alive on another host"),
        ("", 10, "it was refreshed within 300 s"),
        ("", 301, None),
        ("nonsense", 301, None),
    ],
)
def test_a_lock_of_unknown_state_is_kept(file: Any, age: float, refused: str | None, dead_pid: int) -> None:
    path = leave_text("task.lock", file, age=age) if isinstance(file, str) else None
    path = path or leave("task.lock", dead_pid, age=age, **file)
    if refused is None:
        assert [state.owner for state in unlock(ROOT, "task")] == [OwnerState.UNKNOWN]
        return
    with pytest.raises(LockHeldError, match=refused):
        unlock(ROOT, "task")
    assert path.exists()
    assert list(states()) == ["task.lock"]  # the gate was given back
    unlock(ROOT, "task", force=True)
    assert states() == {}


def test_a_live_gate_is_waited_for_and_then_respected() -> None:
    gate = leave("task.lock.acquire", os.getpid(), acquired_at="2099-01-01T00:00:00.000Z")
    leave("task.lock", os.getpid(), acquired_at="2099-01-01T00:00:00.000Z")
    with pytest.raises(LockHeldError, match=r"task\.lock\.acquire"):
        unlock(ROOT, "task", policy=HASTY)
    assert gate.exists()
    removed = unlock(ROOT, "task", policy=HASTY, force=True)
    assert [state.is_gate for state in removed] == [True, False]


def test_no_folder_is_removed_and_nothing_outside_the_root(folder: Path) -> None:
    Path(".runs/task.lock").mkdir()
    with pytest.raises(LockHeldError, match="not a lock"):
        unlock(ROOT, "task", force=True)
    (folder / "x.lock").touch()
    for name in ("../x", "", "a/b", "x.lock"):
        with pytest.raises(UsageError):
            unlock(ROOT, name, force=True)
    assert (folder / "x.lock").exists()


@pytest.mark.parametrize("force", [False, True])
def test_a_lock_that_changes_after_it_was_judged_is_kept(
    force: bool, dead_pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave("task.lock", dead_pid)
    remove_judged = admin.remove_judged

    def another_was_faster(path: str, mutex: str, judged: Any) -> bool:
        os.unlink(path)
        leave("task.lock", os.getpid(), token="another's")
        return remove_judged(path, mutex, judged)

    monkeypatch.setattr(admin, "remove_judged", another_was_faster)
    with pytest.raises(LockHeldError, match="it changed"):
        unlock(ROOT, "task", force=force)
    assert "another's" in Path(".runs/task.lock").read_text()


@pytest.mark.parametrize("generation", ["published", "owner-records"])
@pytest.mark.parametrize("force", [False, True])
def test_beside_a_live_orchestrator_its_locks_are_safe_but_from_force(
    force: bool, generation: str, folder: Path, orchestrator_package: Path
) -> None:
    counter = folder / "counter"
    counter.write_text("0")
    command = ["node", str(ORCHESTRATOR), str(orchestrator_package), generation]
    command += [".runs", "task", str(counter), "300"]
    refused = removed = 0
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as orchestrator:
        while orchestrator.poll() is None:
            try:
                removed += len(unlock(ROOT, "task", force=force, policy=HASTY))
            except LockHeldError:
                refused += 1
            time.sleep(0.001)  # or it would hardly ever find the gate free
        assert orchestrator.stderr is not None
        complaint = orchestrator.stderr.read()
    if force:
        assert removed > 0
        assert "was lost while held" in complaint
    else:
        assert (orchestrator.returncode, complaint) == (0, "")
        assert counter.read_text() == "300"
        assert (removed, refused > 0) == (0, True)
