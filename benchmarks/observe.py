"""CPU time and memory of a command's processes while it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from measure import Cost, remove, timed


@dataclass
class Observed:
    """CPU seconds and peak RSS of a command, by process."""

    parent: int
    cost: Cost = field(default_factory=lambda: Cost(0.0, 0.0))
    cpu: dict[int, float] = field(default_factory=dict)
    peak: dict[int, int] = field(default_factory=dict)

    @property
    def parents_share(self) -> float:
        return self.cpu[self.parent] / self.cost.cpu

    def megabytes(self) -> tuple[int, int]:
        """Peak RSS of the parent, and of the largest of its workers, in millions of bytes."""
        workers = [peak for pid, peak in self.peak.items() if pid != self.parent]
        return self.peak[self.parent] * 1024 // 10**6, max(workers, default=0) * 1024 // 10**6


def observe(root: Path, path: Path, *words: object, fresh: bool = True) -> Observed:
    """Run a batch and sample its processes ten times a second."""
    if fresh:
        remove(root)
    seen = Observed(parent=0)
    roots = ("--out-dir", root / "out", "--runs-dir", root / "runs")
    command = [sys.executable, "-m", "batchpersist", "run", path, *roots, "-q", *words]

    def run() -> None:
        process = subprocess.Popen(list(map(str, command)))
        seen.parent = process.pid
        while process.poll() is None:
            for pid in _family(process.pid):
                _look(pid, seen)
            time.sleep(0.1)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)

    seen.cost = timed(run)
    return seen


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                yield from _family(int(child))


def _look(pid: int, seen: Observed) -> None:
    with suppress(OSError, IndexError, ValueError):
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seen.cpu[pid] = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        status = Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1]
        seen.peak[pid] = max(seen.peak.get(pid, 0), int(status.split()[0]))
