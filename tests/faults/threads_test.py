"""A process that may start no threads or processes: it works, or ends with one line that says why not."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from support.engine import run

Tally = Callable[[str, int], None]
Tool = Callable[[str], str]
Answer = subprocess.CompletedProcess[str]

PACKAGE = Path(__file__).parents[2] / "batchpersist"
BATCHPERSIST = [sys.executable, "-m", "batchpersist"]
NOISE = re.compile("OpenBLAS|jemalloc|Traceback|terminate called|Exception in thread|SIGINT")
NO_THREADS = "clone3:error=EAGAIN"
"""Only threads are started by this call: processes are forked by others."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished batch: 8 runs are persisted, 4 have failed, a line is invalid."""
    (tmp_path / "source").mkdir()
    lines = [json.dumps(run(f"task-{n % 3}", n)) for n in range(12)]
    (tmp_path / "source" / "runs.jsonl").write_text("\n".join(lines))
    (tmp_path / "source" / "bad.jsonl").write_text("{}\n")
    (tmp_path / ".runs").mkdir()
    (tmp_path / ".runs" / "task-0").write_text("in the way of a folder")
    assert batchpersist(tmp_path, "run source -q").returncode == 3
    return tmp_path


def batchpersist(folder: Path, words: str, under: Sequence[str] = ()) -> Answer:
    command = [*under, *BATCHPERSIST, *words.split()]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def run_with_fault(strace: str, folder: Path, words: str, inject: str = NO_THREADS) -> Answer:
    """Run the command while strace lets a system call fail."""
    log = folder / "strace.log"
    call = inject.partition(":")[0]
    under = [strace, "-f", "-qq", "-o", str(log), f"-etrace={call}", f"-einject={inject}"]
    answer = batchpersist(folder, words, under)
    assert "(INJECTED)" in log.read_text(), "the fault did not fire"
    return answer


def without_times(text: str) -> str:
    """The text without times and ids."""
    return re.sub(r"[\d.,]+ (s|ms|runs/s)\b|\d{8}T\d+Z-\w+", "", text)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("run source --force", 3),
        ("run source --force --progress bar", 3),
        ("run source --force --progress none --commit run", 3),
        ("run source --dry-run", 3),
        ("retry", 3),
        ("audit source", 5),
        ("repair", 5),
        ("validate source", 3),
    ],
)
def test_command_works_the_same_without_threads(tool: Tool, folder: Path, words: str, code: int) -> None:
    usual = batchpersist(folder, words)
    answer = run_with_fault(tool("strace"), folder, words)
    assert (answer.returncode, usual.returncode) == (code, code), answer.stderr
    assert without_times(answer.stdout) == without_times(usual.stdout)
    assert not NOISE.search(answer.stderr)


@pytest.mark.parametrize("words", ["report", "report -o report.html", "report --format json", "status"])
def test_command_that_reads_tables_starts_no_thread(tool: Tool, folder: Path, words: str) -> None:
    """Threads of Arrow sometimes abort the process at exit: "terminate called"."""
    log = folder / "strace.log"
    answer = batchpersist(
        folder, words, [tool("strace"), "-f", "-qq", "-o", str(log), "-etrace=clone3,clone"]
    )
    assert answer.returncode == 0, answer.stderr
    assert "CLONE_THREAD" not in log.read_text()


@pytest.mark.parametrize(("words", "code"), [("report", 0), ("retry", 3)])
def test_command_never_aborts_at_exit(folder: Path, words: str, code: int, full: bool, tally: Tally) -> None:
    rounds = 300 if full else 4
    answers = [batchpersist(folder, words) for _ in range(rounds)]
    tally("ends of a command", rounds)
    assert [answer.stderr for answer in answers if answer.returncode != code] == []


def test_arrow_is_called_without_threads() -> None:
    """Some of its calls wait for ever if no thread can be started."""
    threaded, seen = [], set()
    for path in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            name, given = call.func.attr, {f"{ast.unparse(keyword)}" for keyword in call.keywords}
            seen.add(name)
            if not WITHOUT_THREADS.get(name, set()) <= given or ast.unparse(call.func) == "pq.read_table":
                threaded.append(f"{path.relative_to(PACKAGE)}:{call.lineno}: {ast.unparse(call)}")
    assert threaded == []
    assert seen >= WITHOUT_THREADS.keys()


WITHOUT_THREADS = {
    "group_by": {"use_threads=False"},
    "iter_batches": {"use_threads=False"},
    "ParquetFile": {"pre_buffer=False"},
}


@pytest.mark.parametrize("first", [1, 2])
def test_pool_without_threads_ends_with_one_line(tool: Tool, folder: Path, first: int) -> None:
    """A pool has two threads; the one that manages it would wait for ever for the one that feeds it."""
    words = "run source -j 2 --pool-threshold 0 --progress none"
    answer = run_with_fault(tool("strace"), folder, words, f"{NO_THREADS}:when={first}+")
    assert answer.returncode == 1
    assert "worker processes cannot start" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1, answer.stderr


def test_arrow_file_that_needs_threads_is_not_reported_as_damaged(tool: Tool, folder: Path) -> None:
    table = pa.table({"document": [json.dumps(run("task-9", 9))]})
    with pa.OSFile(str(folder / "source.arrow"), "w") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert batchpersist(folder, "run source.arrow --dry-run").returncode == 0
    answer = run_with_fault(tool("strace"), folder, "run source.arrow")
    assert answer.returncode == 3
    assert "input: [EAGAIN] no thread can be started" in answer.stdout


@pytest.fixture
def public_folder(folder: Path) -> Iterator[Path]:
    """A copy that belongs to another user, outside of the tests' folders, which only root may read."""
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(folder, name, dirs_exist_ok=True)
        for path in [Path(name), *Path(name).rglob("*")]:
            os.chown(path, USER, USER)
        yield Path(name)


def test_batch_with_few_processes_works_or_ends_with_one_line(
    tool: Tool, root_user: None, public_folder: Path, full: bool
) -> None:
    codes = {}
    for limit in range(1, 17) if full else (1, 4, 6, 7, 9, 10):
        under = as_user(tool("setpriv"), limit)
        answer = batchpersist(public_folder, "run source --force -j 2 --pool-threshold 0", under)
        codes[limit] = answer.returncode
        assert codes[limit] in (1, 3), answer.stderr
        if codes[limit] == 1:
            assert "worker processes cannot start" in answer.stderr
            assert len(answer.stderr.splitlines()) == 1, answer.stderr
        answer = batchpersist(public_folder, "run source --force -j 1", under)
        assert answer.returncode == 3, answer.stderr
        assert not NOISE.search(answer.stderr)
    assert codes[1] == 1, "the limit had no effect"


def test_comparison_with_few_processes_works_or_ends_with_one_line(
    tool: Tool, root_user: None, public_folder: Path
) -> None:
    words = "compare source --modes=paired,grouped -j1 --rounds=1 --warmup=0 --progress none -q"
    before = set(public_folder.iterdir())
    for limit in (1, 2, 3, 4, 7):
        answer = batchpersist(public_folder, words, as_user(tool("setpriv"), limit))
        if limit < 3 or answer.returncode != 3:
            assert answer.returncode == 1
            assert re.fullmatch(REFUSED, answer.stderr), answer.stderr
        assert set(public_folder.iterdir()) == before


REFUSED = r"Error: .*no (process|thread) can be started \(see ulimit -u, and pids.max of the cgroup\)\n"


def as_user(setpriv: str, processes: int) -> list[str]:
    """A prefix that runs a command as a user with a limit (root has none) who may open all files."""
    user = ["--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
    may = ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    return [setpriv, *user, *may, "prlimit", f"--nproc={processes}"]


USER = 54321
"""A user without other processes: the limit counts all processes of a user."""
