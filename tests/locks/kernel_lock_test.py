"""Where a file system has no flock, a command says so at once, and does nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.processes import dead_pid

from batchpersist.cli.main import cli
from batchpersist.contract.lock_record import Owner
from batchpersist.errors import FlockMissingError
from batchpersist.locks import kernel_lock
from batchpersist.locks.batch_lock import BatchLock, holder_of
from batchpersist.locks.kernel_lock import KernelLock, Timeout
from batchpersist.locks.stale_locks import clear_stale
from batchpersist.paths import Layout

RUN = '{"taskId":"t","runId":"r","timestamp":"2026-01-01T00:00:00.000Z"}\n'
MISSING = ["ENOSYS", "ENOLCK", "EOPNOTSUPP"]


def lose_flock(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def flock(descriptor: int, operation: int) -> None:
        code = getattr(errno, name)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a run, a damaged pair and a lock that a dead process left."""
    (tmp_path / "source.jsonl").write_text(RUN)
    (tmp_path / "out").mkdir()
    (tmp_path / "runs/t/r").mkdir(parents=True)
    (tmp_path / "runs/t/r/manifest.json").write_text(RUN)
    (tmp_path / "runs/left.lock").write_bytes(
        Owner(token="t", pid=dead_pid(), host=socket.gethostname()).encode()
    )
    return tmp_path


def without_flock(strace: str, root: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [strace, "-f", "-q", "-o", str(root / "trace"), "-e", f"inject=flock:error={name}"]
    command += ["-e", "trace=flock", sys.executable, "-m", "batchpersist", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("run", "source.jsonl"), "runs/.batchpersist/batch.gate"),
        (("run", "source.jsonl", "--shard", "1/2"), "runs/.batchpersist/batch.gate"),
        (("repair", "--yes"), "runs/.batchpersist/batch.gate"),
        (("locks", "unlock", "left"), "runs/.batchpersist/locks/break.lock"),
        (("compare", "source.jsonl"), "/lock"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
@pytest.mark.parametrize("name", MISSING)
def test_a_command_that_cannot_lock_names_the_file_and_the_cause_and_does_nothing(
    root: Path, tool: Callable[[str], str], words: tuple[str, ...], path: str, name: str
) -> None:
    before = sorted(root.rglob("*.json")) + sorted(root.rglob("*.lock"))
    roots = ["--runs-dir", "runs"] + ([] if words[0] == "locks" else ["--out-dir", "out"])
    done = without_flock(tool("strace"), root, name, *words, *roots)
    assert done.returncode == 11, done.stderr
    assert f"[{errno.errorcode[getattr(errno, name)]}]" in done.stderr
    assert f"{path}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    after = sorted(root.rglob("*.json")) + sorted(root.rglob("*.lock"))
    assert [file for file in after if ".batchpersist" not in str(file)] == before


def test_after_a_kill_nothing_is_left_that_holds_off_the_next_batch(
    root: Path, tool: Callable[[str], str]
) -> None:
    """A soft lock would be: a file that says for ever that a dead batch is running."""
    for _ in range(2):
        done = without_flock(tool("strace"), root, "ENOSYS", "run", "source.jsonl", "--runs-dir", "runs")
        assert done.returncode == 11
    command = [sys.executable, "-m", "batchpersist", "run", "source.jsonl", "--runs-dir", "runs"]
    assert subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", MISSING)
def test_every_use_of_flock_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    layout = Layout(str(tmp_path / "out"), str(tmp_path / "runs"))
    with BatchLock(layout, "a batch"):
        pass
    stale = tmp_path / "stale.lock"
    stale.touch()
    os.utime(stale, (0, 0))
    lose_flock(monkeypatch, name)
    uses: dict[str, Callable[[], object]] = {
        layout.batch_gate: lambda: BatchLock(layout, "another").acquire(),
        layout.batch_lock: lambda: holder_of(layout),
        str(tmp_path / "mutex"): lambda: clear_stale(str(stale), str(tmp_path / "mutex"), 300),
    }
    for path, use in uses.items():
        with pytest.raises(FlockMissingError) as caught:
            use()
        assert caught.value.errno == getattr(errno, name)
        assert caught.value.filename == path
        assert caught.value.exit_code == 11
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert stale.exists()


def test_a_stale_lock_that_cannot_be_cleared_fails_its_snapshot_and_nothing_else(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = root / "runs/t.lock"
    stale.touch()
    os.utime(stale, (0, 0))
    flock = fcntl.flock

    def flock_but_not_the_mutex(descriptor: int, operation: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("break.lock"):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_but_not_the_mutex)
    monkeypatch.chdir(root)
    (root / "source.jsonl").write_text(RUN + RUN.replace('"t"', '"other"').replace('"r"', '"s"'))
    result = CliRunner().invoke(cli, ["run", "source.jsonl", "--runs-dir", "runs", "-j", "1"])
    assert result.exit_code == 3
    assert "[ENOLCK] No locks available" in result.output
    assert "break.lock" in result.output
    assert (root / "out/other/runs.json").exists()
    assert (root / "runs/t/r/manifest.json").exists()
    assert stale.exists()


def test_a_lock_that_another_holds_is_not_missing(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with KernelLock(path), pytest.raises(Timeout):
        KernelLock(path, timeout=0).acquire()


def test_other_errors_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_flock(monkeypatch, "EIO")
    with pytest.raises(OSError, match="Input/output error") as caught:
        KernelLock(str(tmp_path / "lock")).acquire()
    assert not isinstance(caught.value, FlockMissingError)


def test_no_other_module_takes_a_flock() -> None:
    package = Path(kernel_lock.__file__).parents[1]
    taking = re.compile(r"\bfilelock\b|fcntl\.(flock|lockf)\(")
    found = {path.stem for path in package.rglob("*.py") if taking.search(path.read_text())}
    assert found == {"kernel_lock"}
