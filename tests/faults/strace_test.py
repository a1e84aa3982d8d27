"""strace as the second witness: faultpoints.c misses no call, and faults by the kernel act alike."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from faultpoints import CHANGES, COUNT, Answer, Page
from sweeps import ERRORS, unreported_error
from world import World

Tally = Callable[[str, int], None]
Tool = Callable[[str], str]

CHANGING = (
    "open,openat,creat,write,writev,pwrite64,pwritev,pwritev2,copy_file_range,sendfile,splice,fsync,fdatasync,"
    "sync_file_range,syncfs,sync,ftruncate,truncate,fallocate,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,"
    "utime,utimes,utimensat,futimesat,mkdir,mkdirat,mknod,mknodat,rmdir,unlink,unlinkat,rename,renameat,renameat2,"
    "link,linkat,symlink,symlinkat,setxattr,fsetxattr,lsetxattr,removexattr,fremovexattr,lremovexattr"
)
"""Every system call that changes a file system."""

CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.reset()
    return world


def trace(
    strace: str,
    world: World,
    log: Path,
    words: list[object],
    *options: str,
    environment: dict[str, str] | None = None,
) -> Answer:
    """Run the command under strace."""
    return run(world, words, [strace, "-f", "-y", "-qq", "-o", log, *options], environment)


def run(
    world: World,
    words: list[object],
    under: Sequence[object] = (),
    environment: dict[str, str] | None = None,
) -> Answer:
    command = [*under, sys.executable, "-m", "batchpersist", "run", *world.words, *words]
    result = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | (environment or {}),
    )
    return Answer(result.returncode, result.stdout, result.stderr, 0, 0, "", [], False)


def changes(log: Path, root: Path) -> Counter[str]:
    """Calls that change something below ``root``, by name, including failed ones."""
    found: Counter[str] = Counter()
    for line in log.read_text("utf-8", "replace").splitlines():
        match = CALL.match(line)
        if match is None or str(root) not in match[2]:
            continue
        name, arguments = match.groups()
        # A write's bytes may mention the root; its descriptor says where it goes.
        target = arguments.split(",")[0] if "write" in name else arguments
        opens = name in ("open", "openat", "creat")
        if str(root) in target and (not opens or re.search(r"O_CREAT|O_TRUNC", arguments)):
            found["open" if opens else name] += 1
    return found


@pytest.mark.skipif(sys.version_info < (3, 11), reason="THE SHIM MISSES SOME CALLS OF PYTHON 3.10 (unlinkat)")
@pytest.mark.parametrize(
    "words",
    [["-j", 1], ["-j", 2, "--pool-threshold", 0, "--commit", "run"]],
    ids=lambda words: f"-j {words[1]}",
)
def test_shim_counts_each_call_that_strace_sees(
    tmp_path: Path, world: World, tool: Tool, library: Path, words: list[object]
) -> None:
    page = Page(tmp_path / "page", world.root)
    page.set(0, COUNT, 0, CHANGES)
    environment = {"LD_PRELOAD": str(library), "FAULTPOINTS": str(tmp_path / "page")}
    log = tmp_path / "log"
    answer = trace(tool("strace"), world, log, words, f"-etrace={CHANGING}", environment=environment)
    assert world.violations(answer) + world.finish(answer) == []
    seen = changes(log, world.root)
    assert seen["rename"] > 10
    assert sum(seen.values()) == page.get()[0], seen


def sequential_calls(strace: str, world: World, log: Path) -> Counter[str]:
    """The calls of a batch that makes all of them in one thread: strace's ``when=`` counts by thread."""
    answer = trace(strace, world, log, SEQUENTIAL, f"-etrace={CHANGING}")
    assert world.violations(answer) + world.finish(answer) == []
    threads = {line.split()[0] for line in log.read_text().splitlines() if str(world.root) in line}
    assert len(threads) == 1
    return changes(log, world.root)


SEQUENTIAL: list[object] = ["-j", 1, "--pair", "sequential"]
BY_PATH = ("mkdir", "rename", "link", "unlink", "fchmod")
"""Calls that only the batch makes: not the start of the interpreter, not its output."""


def points(calls: Counter[str], full: bool) -> list[tuple[str, int]]:
    every = [(name, at) for name in BY_PATH for at in range(1, calls[name] + 1)]
    return every if full else every[13::60]


def test_batch_killed_by_strace_loses_nothing(
    tmp_path: Path, world: World, tool: Tool, full: bool, tally: Tally
) -> None:
    strace, log = tool("strace"), tmp_path / "log"
    found = []
    for name, at in points(sequential_calls(strace, world, log), full):
        world.reset()
        inject = f"-einject={name}:signal=KILL:when={at}"
        answer = trace(strace, world, log, SEQUENTIAL, f"-etrace={name}", inject)
        assert answer.code in (-signal.SIGKILL, 128 + signal.SIGKILL), "it was not killed"
        problems = world.violations(answer)
        world.age_locks()
        again = run(world, SEQUENTIAL)
        found += [(name, at, problem) for problem in problems + world.violations(again) + world.finish(again)]
        tally("kill by strace", 1)
    assert found == []


def test_errors_by_strace_are_reported_and_nothing_is_lost(
    tmp_path: Path, world: World, tool: Tool, full: bool, tally: Tally
) -> None:
    strace, log = tool("strace"), tmp_path / "log"
    found = []
    for number, (name, at) in enumerate(points(sequential_calls(strace, world, log), full)):
        world.reset()
        error = ERRORS[number % len(ERRORS)]
        inject = f"-einject={name}:error={error}:when={at}"
        answer = trace(strace, world, log, SEQUENTIAL, f"-etrace={name}", inject)
        injected = [line for line in log.read_text().splitlines() if "(INJECTED)" in line]
        assert len(injected) == 1, "the fault did not fire"
        tally("errors by strace", 1)
        problems = world.violations(answer) + unreported_error(answer, error)
        world.age_locks()
        again = run(world, SEQUENTIAL)
        found += [
            (injected[0], problem) for problem in problems + world.violations(again) + world.finish(again)
        ]
    assert found == []
