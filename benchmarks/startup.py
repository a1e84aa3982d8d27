"""How long does a command take to start, against importing click, and a batch of a few runs?"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from histories import run
from measure import Cost, remove, round_robin, table, timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="of the small batch")
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--where", type=Path, default=Path())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchpersist-bench-", dir=options.where) as folder:
        measure(Path(folder), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    source = folder / "few.jsonl"
    runs = [run(f"run-{number}", number) for number in range(options.runs)]
    source.write_text("".join(json.dumps(each) + "\n" for each in runs))
    command = ("-m", "batchpersist")
    contenders: dict[str, Callable[[], Cost]] = {
        "python -c 'import click'": partial(python, "-c", "import click"),
        "batchpersist --version": partial(python, *command, "--version"),
        "batchpersist run --help": partial(python, *command, "run", "--help"),
        f"batchpersist run -j 2, {options.runs} runs": partial(small_batch, folder, source),
    }
    costs = round_robin(contenders, options.repeat)
    click = costs["python -c 'import click'"]
    rows: list[tuple[object, ...]] = [("", "wall ms", "CPU ms", "CPU, to import click")]
    for name, cost in costs.items():
        rows.append((name, f"{cost.wall * 1e3:.0f}", f"{cost.cpu * 1e3:.0f}", f"{cost.cpu / click.cpu:.2f}"))
    table(rows)


def python(*words: object) -> Cost:
    command = [sys.executable, *map(str, words)]

    def call() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return timed(call)


def small_batch(folder: Path, source: Path) -> Cost:
    """Run a batch into empty roots, with the default durability."""
    remove(folder / "a")
    roots = ("--out-dir", folder / "a" / "out", "--runs-dir", folder / "a" / "runs")
    return python("-m", "batchpersist", "run", source, *roots, "-j", 2, "-q")


if __name__ == "__main__":
    main()
