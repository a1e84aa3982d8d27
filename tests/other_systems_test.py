"""Systems other than Linux: macOS by simulation (``tests/macos``), and the message on Windows."""

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
from support.engine import run
from support.processes import dead_pid

import batchpersist
from batchpersist.storage import file_reader, fingerprint, fsync
from batchpersist.storage.file_reader import WrongFileTypeError, read_file
from batchpersist.storage.fsync import sync_file

MACOS = Path(__file__).parent / "macos"


def run_python(folder: Path, *words: str, path: Path = MACOS) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def command(folder: Path, *words: str) -> str:
    """Run the command as if on macOS; returns its standard output."""
    ended = run_python(folder, "-m", "batchpersist", *words)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout


@pytest.fixture
def source(tmp_path: Path) -> Path:
    runs = [run(f"task-{number % 3}", number) for number in range(30)]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in runs))
    return tmp_path


def test_simulation_takes_away_what_linux_alone_has(tmp_path: Path) -> None:
    script = (
        "import os, sys, time; print(sys.platform, os.uname().sysname, hasattr(os, 'sched_getaffinity'), "
        "os.path.exists('/proc/self'), abs(time.clock_gettime(5) - time.time()) > 10**6)"
    )
    assert run_python(tmp_path, "-c", script).stdout == "darwin Darwin False False True\n"


@pytest.mark.parametrize("durability", ["batch", "file", "none"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_batch_runs_on_macos(source: Path, durability: str, workers: str) -> None:
    batch = ["run", "runs.jsonl", "--durability", durability, "-j", workers, "--pool-threshold", "0"]
    assert "Done: 30 persisted." in command(source, *batch)
    time.sleep(0.05)  # longer than a tick of the file clock: younger files are not cached
    (source / "runs.jsonl").touch()
    assert "Done: 0 persisted, 30 unchanged." in command(source, *batch)


def test_commands_run_on_macos(source: Path) -> None:
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


def test_lock_owner_is_found_without_proc(source: Path) -> None:
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
    locks = [json.loads(line) for line in command(source, "locks", "list", "--json").splitlines()]
    assert {lock["task_id"]: lock["owner"] for lock in locks} == {"dead": "dead", "alive": "alive"}


# Clocks


def test_linux_has_a_coarse_clock() -> None:
    if sys.platform != "linux":
        pytest.skip("NOT LINUX: it has no coarse clock")
    assert fingerprint._coarse_clock() == 5


@pytest.mark.parametrize("other", ["another clock", "no such clock", "no such function"])
def test_clock_is_recognized_by_its_time(other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_clock: int) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    if other == "another clock":
        monkeypatch.setattr(time, "clock_gettime_ns", lambda _clock: time.monotonic_ns())
    elif other == "no such clock":
        monkeypatch.setattr(time, "clock_gettime_ns", denied)
    else:
        monkeypatch.delattr(time, "clock_gettime_ns")
    assert fingerprint._coarse_clock() is None


def test_change_is_not_older_than_the_file_clock_without_a_coarse_clock(
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
    """The ``fcntl`` of a system with F_FULLFSYNC. Records the calls; fails with ``error`` if not 0."""

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


def test_full_sync_is_used_where_fsync_stops_at_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    full = FullSync(monkeypatch)
    sync_file(0)
    assert full.calls == ["full"]


@pytest.mark.parametrize("error", [errno.ENOTSUP, errno.EINVAL, errno.ENOTTY])
def test_unsupported_full_sync_falls_back_to_fsync(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    full = FullSync(monkeypatch, error)
    sync_file(0)
    assert full.calls == ["full", "fsync"]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_failed_full_sync_is_not_retried_as_fsync(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    full = FullSync(monkeypatch, error)
    with pytest.raises(OSError, match=os.strerror(error)):
        sync_file(0)
    assert full.calls == ["full"]


# Errors and names


def test_socket_is_recognized_by_either_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, _flags: int) -> int:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)

    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        with pytest.raises(WrongFileTypeError):
            read_file(str(path))
        monkeypatch.setattr(file_reader.os, "open", refuse)
        with pytest.raises(WrongFileTypeError):
            read_file(str(path))


def test_boot_id_is_the_boot_time_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_BOOT_ID", "/there/is/none")
    assert 0 < int(fingerprint.boot_id()) < time.time()


# Windows

INSTALLED_IN = str(Path(batchpersist.__file__).parents[1])

WINDOWS = f"""
import os, sys
sys.path.insert(0, {INSTALLED_IN!r})  # an editable install's finder does not run without these modules
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
def test_command_on_windows_names_wsl_in_one_line(tmp_path: Path, begin: str) -> None:
    ended = run_python(tmp_path, "-c", WINDOWS + begin, path=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert "WSL" in line


def test_import_on_windows_names_the_supported_systems(tmp_path: Path) -> None:
    ended = run_python(tmp_path, "-c", f"{WINDOWS}import batchpersist; batchpersist.run_batch", path=tmp_path)
    assert ended.stderr.splitlines()[-1].startswith("ImportError: batchpersist runs on Linux and macOS")
