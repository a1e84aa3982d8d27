"""What does a root of the orchestrator cost as a source, against `find` and `cat` of its run summaries?"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

from measure import Cost, batchpersist, persist, remove, round_robin, table, timed

MODEL = Path(__file__).parents[1] / "fixtures" / "orchestrator-root" / "source"
RUN = "0101-alpha", "2026-12-01T11-55-05-845Z-4aae8f05"
"""A run that the orchestrator wrote, with all its files."""

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--durability", default="batch", choices=("none", "batch", "file"))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--where", type=Path, default=Path())
    options = parser.parse_args()
    for runs in options.runs:
        with tempfile.TemporaryDirectory(prefix="batchpersist-bench-", dir=options.where) as folder:
            measure(Path(folder), runs, options)


def measure(folder: Path, runs: int, options: argparse.Namespace) -> None:
    root = folder / "root"
    grow(root, runs, min(options.tasks, runs))
    files = sum(len(names) for _, _, names in os.walk(root))
    words = ("-j", options.workers, "--durability", options.durability)
    contenders: dict[str, Callable[[], Cost]] = {
        "find and cat of the summaries": partial(find_and_cat, root),
        "run, the first night": partial(persist, folder / "a", root, *words),
        "run, the next night": partial(next_night, folder / "a", root, *words),
        "validate": partial(validate, root, *words[:2]),
    }
    costs = round_robin(contenders, options.repeat)
    floor, first = (costs[name].wall for name in list(costs)[:2])
    print(f"\n{runs:,} runs of {min(options.tasks, runs)} tasks, {files:,} files")
    rows: list[tuple[object, ...]] = [("", "wall s", "CPU s", "to find and cat", "to the first night")]
    for name, cost in costs.items():
        ratios = f"{cost.wall / floor:.2f}", f"{cost.wall / first:.2f}"
        rows.append((name, f"{cost.wall:.2f}", f"{cost.cpu:.2f}", *ratios))
    table(rows)
    remove(folder / "a")


def grow(root: Path, runs: int, tasks: int) -> None:
    """Make a root of so many runs, each with all the files that the orchestrator leaves of one.

    What does not hold an id is linked to one file: nothing reads it.
    """
    task, run = RUN
    completed = json.loads((MODEL / task / "cli" / run / "run-summary.json").read_bytes())["timestamp"]
    model = [path.relative_to(MODEL) for path in MODEL.rglob("*") if run in path.parts and not path.is_dir()]
    texts = {
        path: (MODEL / path).read_text()
        for path in model
        if path.name in ("run-summary.json", "manifest.json")
    }
    for path in set(model) - texts.keys():
        put(root / ".model" / path, (MODEL / path).read_text())
    for number in range(runs):
        moment = BEGIN + timedelta(seconds=number)
        new_task, new_run = f"task-{number % tasks:02}", f"{moment:%Y-%m-%dT%H-%M-%S}-000Z-{number:08x}"
        renamed = [(run, new_run), (task, new_task), (completed, f"{moment:%Y-%m-%dT%H:%M:%S}.000Z")]
        for path in model:
            target = root / replaced(path.as_posix(), renamed)
            if path in texts:
                put(target, replaced(texts[path], renamed))
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(root / ".model" / path, target)


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def replaced(text: str, pairs: list[tuple[str, str]]) -> str:
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def find_and_cat(root: Path) -> Cost:
    command = ["find", str(root), "-name", "run-summary.json", "-exec", "cat", "{}", "+"]
    return timed(lambda: print_nowhere(command))


def print_nowhere(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def next_night(place: Path, root: Path, *words: object) -> Cost:
    """The same command again, which finds everything unchanged."""
    roots = ("--out-dir", place / "out", "--runs-dir", place / "runs", "--progress", "none")
    return timed(lambda: batchpersist("run", root, *roots, *words))


def validate(root: Path, *words: object) -> Cost:
    return timed(lambda: batchpersist("validate", root, "--progress", "none", *words))


if __name__ == "__main__":
    main()
