"""Is a batch of any size close to ``cp -r``, linear, parallel, in bounded memory and cheap the next night?"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

import sources
from measure import copy, persist, persist_at_once, remove, round_robin, source, table
from observe import Observed, observe

QUESTIONS = ("floor", "flat", "parallel", "memory", "incremental")
SHAPES = ("many", "hot", *sources.SHAPES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", nargs="*", default=QUESTIONS, choices=QUESTIONS)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--small", type=int, default=10_000, help="runs that a cost is compared with (flat)")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=SHAPES[:2])
    parser.add_argument("--sources", type=Path, help="where generated sources are kept for the next time")
    parser.add_argument("--max-memory", help="bound to be kept where the memory is measured, such as 400M")
    parser.add_argument("--where", type=Path, default=Path())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchpersist-bench-", dir=options.where) as folder:
        options.sources = options.sources or Path(folder, "sources")
        options.sources.mkdir(exist_ok=True)
        for shape in options.shapes:
            for question in options.questions:
                print(f"\n{question}, {shape}: {options.runs:,} runs", flush=True)
                table(globals()[question](Path(folder), shape, options))
                _remove_trees(Path(folder))


Rows = list[tuple[object, ...]]


def _source(folder: Path, shape: str, runs: int) -> Path:
    """Many tasks of a hundred runs each, in any shape; or half of the runs in one task."""
    if shape != "hot":
        lines = source(folder / f"many-{runs}.jsonl", runs, max(1, runs // 100))
        return lines if shape == "many" else sources.reshaped(lines, shape)
    path = folder / f"hot-{runs}.jsonl"
    if not path.exists():
        sizes = (1, max(2, runs // 200))
        half = [
            source(folder / f"half-{tasks}-{runs}.jsonl", runs // 2, tasks, seed=seed)
            for seed, tasks in enumerate(sizes)
        ]
        with path.open("wb") as both:
            for part in half:
                both.write(part.read_bytes())
                part.unlink()
    return path


def _remove_trees(folder: Path) -> None:
    """Remove the files of a question after its answer is printed: that may take longer than the question."""
    for tree in filter(Path.is_dir, folder.iterdir()):
        if tree.name != "sources":
            remove(tree)


def floor(folder: Path, shape: str, options: argparse.Namespace) -> Rows:
    """Wall time against ``cp -r`` of the very tree, on the same disk; and where the CPU goes, a run."""
    path = _source(options.sources, shape, options.runs)
    run = ("-j", 2, "--durability")
    persist(folder / "tree", path, *run, "none")
    remove(folder / "tree" / "runs" / ".batchpersist")  # not part of the trees
    costs = round_robin(
        {
            "run -j 2 --durability none": partial(persist, folder / "none", path, *run, "none"),
            "run -j 2 --durability batch": partial(persist, folder / "batch", path, *run, "batch"),
            "cp -r of the tree written": partial(copy, folder / "cp", folder / "tree"),
        },
        options.repeat,
    )
    none, _, cp = costs.values()
    rows: Rows = [("", "wall s", "runs/s", "user us", "system us", "to cp -r", "to none")]
    for name, cost in costs.items():
        ratios = (f"{cost.wall / cp.wall:.2f}", f"{cost.wall / none.wall:.2f}")
        each = [seconds / options.runs * 1e6 for seconds in (cost.cpu - cost.system, cost.system)]
        figures = (f"{cost.wall:.1f}", f"{options.runs / cost.wall:,.0f}", *(f"{part:.1f}" for part in each))
        rows.append((name, *figures, *ratios))
    return rows


def flat(folder: Path, shape: str, options: argparse.Namespace) -> Rows:
    """CPU seconds a run, against those of few runs."""
    sizes = (options.small, options.runs)
    run = ("-j", 2, "--durability", "none")
    costs = round_robin(
        {
            f"{runs:,} runs": partial(persist, folder / "a", _source(options.sources, shape, runs), *run)
            for runs in sizes
        },
        options.repeat,
    )
    each = [cost.cpu / runs for cost, runs in zip(costs.values(), sizes, strict=True)]
    rows: Rows = [("", "CPU us a run", "ratio")]
    for name, cpu in zip(costs, each, strict=True):
        rows.append((name, f"{cpu * 1e6:.1f}", f"{cpu / each[0]:.2f}"))
    return rows


def parallel(folder: Path, shape: str, options: argparse.Namespace) -> Rows:
    """One worker against two, and the parent's share of the CPU. Best where the disk is not the limit.

    And what the machine has to give: how much more two batches of one worker do at the same time.
    """
    path = _source(options.sources, shape, options.runs)
    alone = ("-j", 1, "--durability", "none")
    pool = ("-j", 2, "--durability", "none")
    costs = round_robin(
        {
            "1 worker": partial(persist, folder / "a", path, *alone),
            "2 workers": partial(persist, folder / "a", path, *pool),
            "the job twice at once, 1 worker each": partial(
                persist_at_once, [folder / "a", folder / "b"], path, *alone
            ),
        },
        options.repeat,
    )
    remove(folder / "b")
    share = observe(folder / "a", path, *pool).parents_share
    one = costs["1 worker"]
    heading = ("", "wall s", "times as fast", "scan and settle s", "times as fast", "parent's share of CPU")
    rows: Rows = [heading]
    for (name, cost), jobs in zip(costs.items(), (1, 1, 2), strict=True):
        wall = f"{cost.wall:.2f}", f"{jobs * one.wall / cost.wall:.2f}"
        work = f"{cost.work:.2f}", f"{jobs * one.work / cost.work:.2f}"
        rows.append((name, *wall, *work, f"{share:.0%}" if name == "2 workers" else ""))
    return rows


def memory(folder: Path, shape: str, options: argparse.Namespace) -> Rows:
    """Peak RSS of the first night and of the next one, and the parent's share of the CPU."""
    path = _source(options.sources, shape, options.runs)
    bound = ("--max-memory", options.max_memory) if options.max_memory else ()
    rows: Rows = [("", "parent MB", "largest worker MB", "--max-memory", "parent's share of CPU")]
    for number, name in enumerate(("first night", "the same again")):
        seen = observe(folder / "a", path, "-j", 2, *bound, fresh=not number)
        share = f"{seen.parents_share:.0%}"
        rows.append((name, *seen.megabytes(), options.max_memory or "-", share))
    return rows


def incremental(folder: Path, shape: str, options: argparse.Namespace) -> Rows:
    """A rerun with a thousandth more runs, in a file of their own, against the first night."""
    path = _source(options.sources, shape, options.runs)
    more, new = folder / "more.jsonl", max(1, options.runs // 1000)
    source(more, new, max(1, new // 10), seed=2)
    costs: dict[str, list[Observed]] = {"first night": [], "next night": []}
    for _ in range(options.repeat):
        costs["first night"].append(observe(folder / "a", path, "-j", 2))
        costs["next night"].append(observe(folder / "a", path, more, "-j", 2, fresh=False))
        counts = json.loads((folder / "a" / "out" / "metrics.json").read_bytes())["counts"]
        assert counts["persisted"] + counts["unchanged"] + counts["superseded"] == options.runs + new, counts
    more.unlink()
    middle = {name: sorted(of, key=lambda seen: seen.cost.wall)[len(of) // 2] for name, of in costs.items()}
    wall, cpu = middle["first night"].cost.wall, middle["first night"].cost.cpu
    rows: Rows = [("", "parent MB", "largest worker MB", "CPU s", "ratio", "wall s", "ratio")]
    for name, seen in middle.items():
        cost = seen.cost
        ratios = f"{cost.cpu / cpu:.2f}", f"{cost.wall:.1f}", f"{cost.wall / wall:.2f}"
        rows.append((name, *seen.megabytes(), f"{cost.cpu:.1f}", *ratios))
    return rows


if __name__ == "__main__":
    main()
