"""What does an audit cost, against reading the same files, and how much memory does it take?

The tree is persisted once; then all contenders read all of it in turn, in processes of their own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measure import Cost, batchpersist, persist, round_robin, source, table, timed

CAT = "find . -type f ( -name runs.json -o -name manifest.json ) -exec cat {} +"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--skew", type=float, default=0.0, help="see `batchpersist generate`")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--where", type=Path, default=Path())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchpersist-bench-", dir=options.where) as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    path = source(folder / "source.jsonl", options.runs, options.tasks, skew=options.skew)
    persist(folder / "tree", path, "--durability", "none")
    contenders: dict[str, Callable[[], Cost]] = {"cat": partial(cat, folder / "tree")}
    for workers in (1, 2):
        contenders[f"audit -j {workers}"] = partial(audit, folder / "tree", "-j", workers)
    contenders["audit -j 2, with the source"] = partial(audit, folder / "tree", path, "-j", 2)
    costs = round_robin(contenders, options.repeat)
    rows: list[tuple[object, ...]] = [("contender", "wall s", "wall / cat", "CPU us a run", "CPU / cat")]
    for name, cost in costs.items():
        per_run = f"{1e6 * cost.cpu / options.runs:.0f}"
        times = f"{cost.wall:.2f}", f"{cost.wall / costs['cat'].wall:.2f}"
        rows.append((name, *times, per_run, f"{cost.cpu / costs['cat'].cpu:.2f}"))
    print(f"{options.runs:,} runs of {options.tasks:,} tasks")
    table(rows)
    print(f"peak memory of one process: {peak_of(folder / 'tree'):.0f} MB")


def cat(tree: Path) -> Cost:
    """The lower bound: open and read each file once."""
    return timed(lambda: subprocess.run(CAT.split(), cwd=tree, check=True, stdout=subprocess.DEVNULL))  # type: ignore[func-returns-value]


def audit(tree: Path, *words: object) -> Cost:
    roots = ("--out-dir", tree / "out", "--runs-dir", tree / "runs")
    return timed(lambda: batchpersist("audit", *words, *roots, "--progress", "none"))


def peak_of(tree: Path) -> float:
    """MB that an audit in one process takes at most."""
    program = (
        "import resource, sys; from batchpersist import AuditOptions, audit_root;"
        "audit_root(AuditOptions(sys.argv[1], sys.argv[2]));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    words = [sys.executable, "-c", program, tree / "out", tree / "runs"]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
