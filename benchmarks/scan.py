"""What does finding a run cost, in each shape that sources come in? And how much of that is the parent's?"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from measure import Cost, round_robin, source, table
from sources import reshaped

from batchpersist.context import RunContext
from batchpersist.index.scan import scan_sources
from batchpersist.models import DEFAULT_KEYS
from batchpersist.sources.discovery import discover
from batchpersist.workers.pool import WorkerPool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--where", type=Path, default=Path())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchpersist-bench-", dir=options.where) as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    plain = source(folder / "plain.jsonl", options.runs, options.tasks)
    texts = plain.read_bytes().splitlines()
    shapes = make_shapes(plain)
    (spool := folder / "spool").mkdir()
    contenders: dict[str, Callable[[], Cost]] = {
        "json.loads": partial(timed, lambda: [json.loads(text) for text in texts])
    }
    for name, path in shapes.items():
        contenders[f"read {name}"] = partial(timed, partial(read, path))
        for workers in (1, 2):
            contenders[f"{workers} {name}"] = partial(timed, partial(scan, path, workers, spool, len(texts)))
    scan(plain, 1, spool, len(texts))  # what is imported on the way is not measured
    costs = round_robin(contenders, options.repeat)

    print(f"{len(texts):,} runs in {options.tasks:,} tasks; CPU time in one process, in turns, medians")
    heading = ("shape", "CPU us a run", "/ reading its bytes", "/ json.loads", "parent's share, 2 workers")
    rows: list[tuple[object, ...]] = [heading]
    for name in shapes:
        one = costs[f"1 {name}"].cpu
        ratios = one / costs[f"read {name}"].cpu, one / costs["json.loads"].cpu
        share = costs[f"2 {name}"].cpu / one
        rows.append(
            (name, f"{one / len(texts) * 1e6:.1f}", *(f"{ratio:.2f}" for ratio in ratios), f"{share:.0%}")
        )
    table(rows)


def make_shapes(plain: Path) -> dict[str, Path]:
    """The same runs in each shape."""
    names = {
        "one .jsonl.gz": "gz",
        "one .jsonl.zst": "zst",
        "one .parquet, JSON text": "parquet",
        "a .json file a run": "files",
        "a runs-dir of manifests": "manifests",
    }
    return {"one .jsonl": plain} | {name: reshaped(plain, shape) for name, shape in names.items()}


def timed(action: Callable[[], object]) -> Cost:
    """CPU seconds of this process alone: those of the one worker, or of the parent beside two."""
    started, cpu = time.perf_counter(), time.process_time()
    action()
    return Cost(time.perf_counter() - started, time.process_time() - cpu)


def scan(path: Path, workers: int, spool: Path, runs: int) -> None:
    with closing(WorkerPool(workers, pool_runs=min(2_000, runs))) as pool:
        index = scan_sources(
            discover([str(path)]),
            pool,
            DEFAULT_KEYS,
            str(spool),
            RunContext(),
        )
    assert index.rows == runs
    for copy in spool.iterdir():
        copy.unlink()


def read(path: Path) -> None:
    """The lower bound: read the files as ``cat`` does."""
    paths = [str(path)]
    if path.is_dir():
        paths = [f"{where}/{name}" for where, _, names in os.walk(path) for name in names]
    for name in paths:
        descriptor = os.open(name, os.O_RDONLY)
        while os.read(descriptor, 128 << 10):
            pass
        os.close(descriptor)


if __name__ == "__main__":
    main()
