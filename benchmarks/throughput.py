"""How fast is the group commit: against one commit a run, against ``cp -r``, and as the runs get more?"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

from measure import Cost, copy, persist, round_robin, source, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--tasks", type=int, default=200, help="of the shape with many tasks")
    parser.add_argument(
        "--baseline-runs", type=int, default=500, help="for one commit a run, which is quadratic"
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--durability", default="batch")
    parser.add_argument("--where", type=Path, default=Path())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchpersist-bench-", dir=options.where) as folder:
        for shape, tasks in (("many tasks", options.tasks), ("one task", 1)):
            measure(shape, tasks, options, Path(folder))


def measure(shape: str, tasks: int, options: argparse.Namespace, folder: Path) -> None:
    """Print one shape's table."""
    runs, few, tenth = options.runs, options.baseline_runs, options.runs // 10
    whole = source(folder / f"{tasks}.jsonl", runs, tasks)
    small = source(folder / f"{tasks}-tenth.jsonl", tenth, max(1, tasks // 10))
    sample = source(folder / f"{tasks}-few.jsonl", few, max(1, tasks * few // runs))
    durable = ("--durability", options.durability)
    persist(folder / "tree", whole, "-j", 2, *durable)
    costs = round_robin(
        {
            "group commit, 2 workers": partial(persist, folder / "a", whole, "-j", 2, *durable),
            "group commit, 1 worker": partial(persist, folder / "b", whole, "-j", 1, *durable),
            "group commit, 2 workers, a tenth of the runs": partial(
                persist, folder / "c", small, "-j", 2, *durable
            ),
            "one commit a run, sequential": partial(
                persist, folder / "d", sample, "-j", 1, "--commit", "run", "--pair", "sequential", *durable
            ),
            "cp -r of the tree written": partial(copy, folder / "e", folder / "tree"),
        },
        options.repeat,
    )
    counts = [runs, runs, tenth, few, runs]
    first = costs["group commit, 2 workers"].wall / runs
    print(f"\n{shape}: {runs:,} runs in {tasks:,} tasks, durability {options.durability}")
    rows: list[tuple[object, ...]] = [("", "runs", "runs/s", "wall a run / group commit's", "CPU us a run")]
    for (name, cost), count in zip(costs.items(), counts, strict=True):
        rows.append(
            (
                name,
                f"{count:,}",
                f"{count / cost.wall:,.0f}",
                f"{cost.wall / count / first:.2f}",
                _micro(cost, count),
            )
        )
    table(rows)


def _micro(cost: Cost, runs: int) -> str:
    return f"{cost.cpu / runs * 1e6:.0f}"


if __name__ == "__main__":
    main()
