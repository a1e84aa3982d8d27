"""Other systems than Linux: macOS in a simulation (``tests/macos``), and what is said on Windows."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.contenders import dead_pid
from support.engine import run

import batchpersist
from batchpersist.storage import fingerprint, fsync, safe_open
from batchpersist.storage.fsync import sync_file
from batchpersist.storage.safe_open import WrongFileTypeError, read_file

MACOS = Path(__file__).parent / "macos"


def python(folder: Path, *words: str, path: Path = MACOS) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def command(folder: Path, *words: str) -> str:
    """What the command prints, as if on macOS."""
    ended = python(folder, "-m", "batchpersist", *words)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout


@pytest.fixture
def source(tmp_path: Path) -> Path:
    runs = [run(f"task-{number % 3}", number) for number in range(30)]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in runs))
    return tmp_path


def test_the_simulation_is_one(tmp_path: Path) -> None:
    script = (
        "import os, sys, time; print(sys.platform, os.uname().sysname, hasattr(os, 'sched_getaffinity'), "
        "os.path.exists('/proc/self'), abs(time.clock_gettime(5) - time.time()) > 10**6)"
    )
    assert python(tmp_path, "-c", script).stdout == "darwin Darwin False False True\n"


@pytest.mark.parametrize("durability", ["batch", "file", "none"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_batch_needs_nothing_that_linux_alone_has(source: Path, durability: str, workers: str) -> None:
    batch = ["run", "runs.jsonl", "--durability", durability, "-j", workers, "--pool-threshold", "0"]
    assert "Done: 30 persisted." in command(source, *batch)
    time.sleep(0.05)  # until what was written is older than a tick
    (source / "runs.jsonl").touch()
    assert "Done: 0 persisted, 30 unchanged." in command(source, *batch)


def test_no_command_needs_what_linux_alone_has(source: Path) -> None:
    command(source, "validate", "runs.jsonl")
    command(source, "run", "runs.jsonl", "--dry-run", "-j", "2")
    command(source, "run", "runs.jsonl", "-j", "1")
    command(source, "audit", "runs.jsonl", "--pause", "0")
    (source / ".runs" / "task-1" / "run-1" / "manifest.json").unlink()
    command(source, "repair", "--yes", "--pause", "0")
    assert "finished" in command(source, "status")
    assert "Done: 30 persisted." in command(source, "report")
    assert "Nothing to retry" in command(source, "retry")
    assert "durability" in command(source, "config", "show")
    measured = command(
        source, "compare", "runs.jsonl", "--rounds", "1", "--warmup", "0", "--workers", "2", "--json"
    )
    assert json.loads(measured)["kind"] == "comparison"


def test_locks_are_judged_without_proc(source: Path) -> None:
    (source / ".runs").mkdir()
    owners = {"dead": dead_pid(), "alive": os.getpid()}
    for task, pid in owners.items():
        record = {
            "schema_version": 1,
            "kind": "codex-lock-owner",
            "token": "a",
            "task_id": task,
            "pid": pid,
            "host": socket.gethostname(),
            "acquired_at": "2999-01-01T00:00:00.000Z",
        }
        (source / ".runs" / f"{task}.lock").write_text(json.dumps(record))
    told = [json.loads(line) for line in command(source, "locks", "list", "--json").splitlines()]
    assert {lock["task_id"]: lock["owner"] for lock in told} == {"dead": "dead", "alive": "alive"}


# Clocks


def test_linux_has_a_coarse_clock() -> None:
    if sys.platform != "linux":
        pytest.skip("NOT LINUX: it has no coarse clock")
    assert fingerprint._coarse_clock() == 5


@pytest.mark.parametrize("other", ["another clock", "no such clock", "no such function"])
def test_a_clock_is_known_by_what_it_tells(other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_clock: int) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    if other == "another clock":
        monkeypatch.setattr(time, "clock_gettime_ns", lambda _clock: time.monotonic_ns())
    elif other == "no such clock":
        monkeypatch.setattr(time, "clock_gettime_ns", denied)
    else:
        monkeypatch.delattr(time, "clock_gettime_ns")
    assert fingerprint._coarse_clock() is None


def test_without_a_coarse_clock_no_change_is_dated_before_the_file_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "_COARSE_CLOCK", None)
    for number in range(20):
        before = fingerprint.file_clock()
        (tmp_path / str(number)).touch()
        changed = fingerprint.Fingerprint.of((tmp_path / str(number)).stat())
        assert before <= changed.ctime_ns
        assert not changed.is_older_than(fingerprint.file_clock() - fingerprint._LONGEST_TICK_NS)


# Syncs


class FullSync:
    """``fcntl`` of a system that has F_FULLFSYNC, and what was asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: int = 0) -> None:
        self.calls: list[str] = []
        self._error = error
        monkeypatch.setattr(fsync, "_FULL_SYNC", 51)
        monkeypatch.setattr(fcntl, "fcntl", self._fcntl)
        monkeypatch.setattr(os, "fsync", lambda _fd: self.calls.append("fsync"))

    def _fcntl(self, _fd: int, command: int) -> None:
        assert command == 51
        self.calls.append("full")
        if self._error:
            raise OSError(self._error, os.strerror(self._error))


def test_a_sync_goes_through_to_the_medium_where_fsync_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    full = FullSync(monkeypatch)
    sync_file(0)
    assert full.calls == ["full"]


@pytest.mark.parametrize("error", [errno.ENOTSUP, errno.EINVAL, errno.ENOTTY])
def test_a_file_system_without_such_a_sync_gets_the_usual_one(
    monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    full = FullSync(monkeypatch, error)
    sync_file(0)
    assert full.calls == ["full", "fsync"]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_sync_that_fails_is_not_tried_again_in_another_way(
    monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    full = FullSync(monkeypatch, error)
    with pytest.raises(OSError, match=os.strerror(error)):
        sync_file(0)
    assert full.calls == ["full"]


# Errors and names


def test_a_socket_is_known_by_either_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, _flags: int) -> int:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)

    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        with pytest.raises(WrongFileTypeError):
            read_file(str(path))
        monkeypatch.setattr(safe_open.os, "open", refuse)
        with pytest.raises(WrongFileTypeError):
            read_file(str(path))


def test_a_start_of_the_machine_is_told_from_the_next_by_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_BOOT_ID", "/there/is/none")
    told = fingerprint.boot_id()
    assert 0 < int(told) < time.time()


# Windows

INSTALLED_IN = str(Path(batchpersist.__file__).parents[1])

WINDOWS = f"""
import os, sys
sys.path.insert(0, {INSTALLED_IN!r})  # the finder of an editable install does not run there
os.name = "nt"
for name in ("fcntl", "resource", "termios", "grp", "pwd", "click"):
    sys.modules[name] = None
"""


@pytest.mark.parametrize(
    "begin",
    [
        "from batchpersist.cli.main import main; main()",
        "import runpy; runpy.run_module('batchpersist', run_name='__main__')",
    ],
)
def test_windows_is_told_what_helps_in_one_sentence(tmp_path: Path, begin: str) -> None:
    ended = python(tmp_path, "-c", WINDOWS + begin, path=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert "WSL" in line


def test_a_program_on_windows_is_told_too(tmp_path: Path) -> None:
    ended = python(tmp_path, "-c", f"{WINDOWS}import batchpersist; batchpersist.run_batch", path=tmp_path)
    assert ended.stderr.splitlines()[-1].startswith("ImportError: batchpersist runs on Linux and macOS")
