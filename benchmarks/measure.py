"""What the benchmarks share: sources, timed commands, medians, a table."""

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

# What is measured begins with compiled modules, as it does for whoever has installed it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@dataclass(frozen=True)
class Cost:
    """Of one command: seconds on the clock, and seconds of CPU of it and its children."""

    wall: float
    cpu: float
    system: float = 0.0
    """Of the CPU, what the kernel took."""
    work: float = 0.0
    """Of the wall time of a batch, scanning and settling: all but what is the same for few runs and many."""


def adopt_orphans() -> None:
    """Become the parent of what a command leaves behind: a pool's fork server ends after the command
    itself, and its workers' CPU would be nobody's."""
    set_child_subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(set_child_subreaper, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def timed(action: Callable[[], None]) -> Cost:
    """Run an action that works in child processes, and wait for all they leave behind."""
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
    """Measure each contender once a round: a machine that slows down slows them all alike."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(repeat):
        for name, contender in contenders.items():
            costs[name].append(contender())
    return {name: median(of) for name, of in costs.items()}


def source(path: Path, runs: int, tasks: int, *, skew: float = 0.0, seed: int = 0) -> Path:
    """A generated source, reused where it was made before; those of different seeds have no run in common."""
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
    """The same into several roots at the same time."""
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
    """``cp -r`` of a tree into an empty root: the floor, since it makes the same files."""
    remove(root)
    root.mkdir()

    def cp() -> None:
        subprocess.run(["cp", "-r", tree, root / "copy"], check=True)

    return timed(cp)


def remove(root: Path) -> None:
    """Empty the root, and let the disk finish with it, so that the next one does not pay."""
    shutil.rmtree(root, ignore_errors=True)
    os.sync()


def table(rows: Iterable[tuple[object, ...]]) -> None:
    """Print rows in columns; the first is the heading."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
