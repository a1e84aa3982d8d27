"""A system call that a container's filter denies: a batch works without it, or names it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.engine import run

Tally = Callable[[str, int], None]
Tool = Callable[[str], str]

RUNS = 60
"""Enough for groups of files that share a sync."""

OPTIONAL_CALLS = [
    *("clone3", "fstatfs", "getrandom", "link", "madvise", "mremap", "prlimit64", "readlink", "rseq"),
    *("sched_getaffinity", "set_robust_list", "syncfs", "sysinfo"),
]
MESSAGES = {"fsync": "fsync is refused", "flock": "batch.gate: ["}
"""Calls without which nothing is safe: the batch persists nothing."""

POOL_OPTIONAL_CALLS = ["close_range", "mbind", "sched_getaffinity", "syncfs", "vfork"]
POOL_MESSAGES = {
    "accept4": "worker processes cannot start",
    "clone3": "no thread can be started",
    "link": "no semaphore can be made",
    "pipe2": "worker processes cannot start",
    "socket": "worker processes cannot start",
}


@pytest.mark.parametrize("call", [*OPTIONAL_CALLS, *MESSAGES])
def test_batch_works_without_a_denied_call_or_names_it(
    tmp_path: Path, tool: Tool, tally: Tally, call: str, full: bool
) -> None:
    for error in errors(call, full):
        check(tmp_path, tool("strace"), "-j 1", call, error, MESSAGES.get(call))
        tally("denied system calls", 1)


@pytest.mark.parametrize("call", [*POOL_OPTIONAL_CALLS, *POOL_MESSAGES])
def test_pool_works_without_a_denied_call_or_reports_why_it_cannot_start(
    tmp_path: Path, tool: Tool, tally: Tally, call: str, full: bool
) -> None:
    for error in errors(call, full):
        older = error == "ENOSYS" and call in ("clone3", "accept4")  # an older call replaces it
        named = None if older else POOL_MESSAGES.get(call)
        check(tmp_path, tool("strace"), "-j 2 --pool-threshold 0", call, error, named)
        tally("denied system calls", 1)


def errors(call: str, full: bool) -> list[str]:
    return ["ENOSYS", "EPERM"] if full or call in ("syncfs", "clone3") else ["EPERM"]


def check(folder: Path, strace: str, workers: str, call: str, error: str, named: str | None) -> None:
    lines = [json.dumps(run(f"task-{n % 2}", n)) for n in range(RUNS)]
    (folder / "runs.jsonl").write_text("\n".join(lines))
    for root in ("out", ".runs"):
        shutil.rmtree(folder / root, ignore_errors=True)
    log = folder / "log"
    under = [strace, "-f", "-qq", "-o", str(log), f"-etrace={call}", f"-einject={call}:error={error}"]
    command = [*under, sys.executable, "-m", "batchpersist", "run", "runs.jsonl", *workers.split()]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert "(INJECTED)" in log.read_text(), "the fault did not fire"
    stderr = answer.stderr.splitlines()
    persisted = len(list((folder / ".runs").glob("*/*/manifest.json")))
    if named is None:
        assert (answer.returncode, persisted) == (0, RUNS), answer.stderr
        assert len(stderr) == (call == "syncfs"), answer.stderr
    else:
        assert (answer.returncode, persisted) == (11 if call == "flock" else 1, 0)
        assert len(stderr) == 1, answer.stderr
        assert named in stderr[0]


def test_refused_syncfs_is_reported_once_and_each_file_is_synced(tmp_path: Path, tool: Tool) -> None:
    check(tmp_path, tool("strace"), "-j 2 --pool-threshold 0", "syncfs", "EPERM", None)
    log = tmp_path / "syncs"
    under = [
        tool("strace"),
        "-f",
        "-qq",
        "-o",
        str(log),
        "-etrace=fsync,syncfs",
        "-einject=syncfs:error=EPERM",
    ]
    command = [*under, sys.executable, "-m", "batchpersist", "run", "runs.jsonl", "--force", "-j", "2"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0
    assert answer.stderr.count("syncfs is refused (Operation not permitted)") == 1
    text = log.read_text()
    assert "(INJECTED)" in text, "the fault did not fire"
    assert text.count("fsync(") - text.count("syncfs(") > RUNS
