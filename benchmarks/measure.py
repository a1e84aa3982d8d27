"""Helpers of all benchmarks: sources, timed commands, medians, a table."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

# The commands start with compiled modules, as an installed batchpersist does.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@dataclass(frozen=True)
class Cost:
    """The cost of a command: wall time in seconds, and CPU seconds of it and its children."""

    wall: float
    cpu: float
    system: float = 0.0
    """CPU seconds in the kernel."""
    work: float = 0.0
    """Seconds of a batch's scan and persist phases: the part of the wall time that grows with the runs."""


def adopt_orphans() -> None:
    """Become the parent of orphans: a pool's fork server ends after the command, and the CPU time of its
    workers would not be counted."""
    set_child_subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(set_child_subreaper, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def timed(action: Callable[[], None]) -> Cost:
    """Run an action in child processes, and wait for all of their children."""
    adopt_orphans()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    action()
    wall = time.perf_counter() - started
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    system = after.ru_stime - before.ru_stime
    return Cost(wall, after.ru_utime - before.ru_utime + system, system)


def median(costs: Iterable[Cost]) -> Cost:
    costs = list(costs)
    columns = zip(*((cost.wall, cost.cpu, cost.system, cost.work) for cost in costs), strict=True)
    return Cost(*map(statistics.median, columns))


def round_robin(contenders: dict[str, Callable[[], Cost]], repeat: int) -> dict[str, Cost]:
    """Measure each contender once a round: a machine that slows down affects all of them."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(repeat):
        for name, contender in contenders.items():
            costs[name].append(contender())
    return {name: median(of) for name, of in costs.items()}


def source(path: Path, runs: int, tasks: int, *, skew: float = 0.0, seed: int = 0) -> Path:
    """A generated source, made once; sources of different seeds have no run in common."""
    if not path.exists():
        shape = ("--runs", runs, "--tasks", tasks, "--skew", skew, "--seed", seed)
        batchpersist("generate", *shape, "-o", path)
    return path


def batchpersist(*words: object) -> None:
    command = [sys.executable, "-m", "batchpersist", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


def persist(root: Path, path: Path, *words: object) -> Cost:
    """``batchpersist run`` into an empty root; removing an older one is not measured."""
    return persist_at_once([root], path, *words)


def persist_at_once(roots: Sequence[Path], path: Path, *words: object) -> Cost:
    """Run batches into several roots at the same time."""
    for root in roots:
        remove(root)

    def run() -> None:
        with ThreadPoolExecutor(len(roots)) as threads:
            list(threads.map(lambda root: batchpersist("run", path, *_in(root), *words), roots))

    cost = timed(run)
    timings = [json.loads((root / "out" / "metrics.json").read_bytes())["timing"] for root in roots]
    return replace(cost, work=max(timing["scan"] + timing["settle"] for timing in timings))


def _in(root: Path) -> tuple[object, ...]:
    return ("--out-dir", root / "out", "--runs-dir", root / "runs", "--progress", "none")


def copy(root: Path, tree: Path) -> Cost:
    """``cp -r`` of a tree into an empty root: the lower bound, since it makes the same files."""
    remove(root)
    root.mkdir()

    def cp() -> None:
        subprocess.run(["cp", "-r", tree, root / "copy"], check=True)

    return timed(cp)


def remove(root: Path) -> None:
    """Remove the root, and wait for the disk, so that the next command does not pay for it."""
    shutil.rmtree(root, ignore_errors=True)
    os.sync()


def table(rows: Iterable[tuple[object, ...]]) -> None:
    """Print rows in columns; the first is the heading."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
