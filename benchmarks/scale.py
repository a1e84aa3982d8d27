"""Is it close to ``cp -r``, flat, parallel, in bounded memory and cheap the next night, whatever the size?"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

from measure import batchpersist, copy, persist, remove, round_robin, source, table
from observe import observe

QUESTIONS = ("floor", "flat", "parallel", "memory", "incremental")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", nargs="*", default=QUESTIONS, choices=QUESTIONS)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--small", type=int, default=10_000, help="runs that a cost is compared with (flat)")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--shapes", nargs="*", choices=("many", "hot"), default=("many", "hot"))
    parser.add_argument("--where", type=Path, default=Path())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchpersist-bench-", dir=options.where) as folder:
        for shape in options.shapes:
            for question in options.questions:
                print(f"\n{question}, {shape}: {options.runs:,} runs", flush=True)
                table(globals()[question](Path(folder), shape, options))


Rows = list[tuple[object, ...]]


def _source(folder: Path, shape: str, runs: int) -> Path:
    """Many tasks of a hundred runs each, or half of the runs in one task and the rest in small ones."""
    path = folder / f"{shape}-{runs}.jsonl"
    if shape == "many":
        return source(path, runs, max(1, runs // 100))
    if not path.exists():
        sizes = (1, max(2, runs // 200))
        half = [source(folder / f"half-{tasks}-{runs}.jsonl", runs // 2, tasks) for tasks in sizes]
        with path.open("wb") as both:
            for part in half:
                both.write(part.read_bytes())
                part.unlink()
    return path


def floor(folder: Path, shape: str, options: argparse.Namespace) -> Rows:
    """Wall time against ``cp -r`` of the very tree, on the same disk."""
    path = _source(folder, shape, options.runs)
    run = ("-j", 2, "--durability")
    persist(folder / "tree", path, *run, "none")
    remove(folder / "tree" / "runs" / ".batchpersist")  # not part of what it was to write
    costs = round_robin(
        {
            "run -j 2 --durability none": partial(persist, folder / "a", path, *run, "none"),
            "run -j 2 --durability batch": partial(persist, folder / "a", path, *run, "batch"),
            "cp -r of the tree written": partial(copy, folder / "a", folder / "tree"),
        },
        options.repeat,
    )
    remove(folder / "tree")
    remove(folder / "a")
    none, _, cp = costs.values()
    rows: Rows = [("", "wall s", "runs/s", "to cp -r", "to none")]
    for name, cost in costs.items():
        ratios = (f"{cost.wall / cp.wall:.2f}", f"{cost.wall / none.wall:.2f}")
        rows.append((name, f"{cost.wall:.1f}", f"{options.runs / cost.wall:,.0f}", *ratios))
    return rows


def flat(folder: Path, shape: str, options: argparse.Namespace) -> Rows:
    """CPU seconds a run, against those of few runs."""
    sizes = (options.small, options.runs)
    run = ("-j", 2, "--durability", "none")
    costs = round_robin(
        {
            f"{runs:,} runs": partial(persist, folder / "a", _source(folder, shape, runs), *run)
            for runs in sizes
        },
        options.repeat,
    )
    remove(folder / "a")
    each = [cost.cpu / runs for cost, runs in zip(costs.values(), sizes, strict=True)]
    rows: Rows = [("", "CPU us a run", "ratio")]
    for name, cpu in zip(costs, each, strict=True):
        rows.append((name, f"{cpu * 1e6:.1f}", f"{cpu / each[0]:.2f}"))
    return rows


def parallel(folder: Path, shape: str, options: argparse.Namespace) -> Rows:
    """One worker against two, and the parent's share of the CPU. Best where the disk is not the limit."""
    path = _source(folder, shape, options.runs)
    durable = ("--durability", "none")
    costs = round_robin(
        {
            "1 worker": partial(persist, folder / "a", path, "-j", 1, *durable),
            "2 workers": partial(persist, folder / "a", path, "-j", 2, *durable),
        },
        options.repeat,
    )
    share = observe(folder / "a", path, "-j", 2, *durable).parents_share
    remove(folder / "a")
    one, two = costs.values()
    return [
        ("", "wall s", "times as fast", "parent's share of CPU"),
        ("1 worker", f"{one.wall:.2f}", "1.00", ""),
        ("2 workers", f"{two.wall:.2f}", f"{one.wall / two.wall:.2f}", f"{share:.0%}"),
    ]


def memory(folder: Path, shape: str, options: argparse.Namespace) -> Rows:
    """Peak RSS of the first night and of the next one."""
    path = _source(folder, shape, options.runs)
    nights = {
        name: observe(folder / "a", path, "-j", 2, fresh=not number).megabytes()
        for number, name in enumerate(("first night", "the same again"))
    }
    remove(folder / "a")
    return [("", "parent MB", "largest worker MB"), *((name, *peaks) for name, peaks in nights.items())]


def incremental(folder: Path, shape: str, options: argparse.Namespace) -> Rows:
    """A rerun with a thousandth more runs, in a file of their own, against the first night."""
    sources = folder / f"nights-{shape}"
    sources.mkdir()
    _source(folder, shape, options.runs).rename(sources / "first.jsonl")
    costs: dict[str, list[float]] = {"first night": [], "next night": []}
    new = max(1, options.runs // 1000)
    for _ in range(options.repeat):
        remove(folder / "a")
        for number, name in enumerate(costs):
            if number:
                more = ("--runs", new, "--tasks", max(1, new // 10), "--seed", 1)
                batchpersist("generate", *more, "-o", sources / "second.jsonl")
            costs[name].append(observe(folder / "a", sources, "-j", 2, fresh=False).cost.wall)
        counts = json.loads((folder / "a" / "out" / "metrics.json").read_bytes())["counts"]
        assert counts["persisted"] + counts["unchanged"] + counts["superseded"] == options.runs + new, counts
        (sources / "second.jsonl").unlink()
    remove(folder / "a")
    walls = {name: sorted(of)[len(of) // 2] for name, of in costs.items()}
    (sources / "first.jsonl").rename(folder / f"{shape}-{options.runs}.jsonl")
    sources.rmdir()
    return [
        ("", "wall s", "ratio"),
        *((name, f"{wall:.1f}", f"{wall / walls['first night']:.2f}") for name, wall in walls.items()),
    ]


if __name__ == "__main__":
    main()
