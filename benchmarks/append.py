"""What does it cost to add one run to a task, as its history gets longer?

With what the commit before noted down of the history; without it, so that the history is read and
validated; and as anybody would do it, by json.load and json.dumps. All contenders do the same
work in turn, in one process each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from histories import TASK, run, write_history
from measure import table

from batchpersist.models import Durability
from batchpersist.paths import Layout
from batchpersist.snapshots.store import TaskStateStore


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100], help="of the history, in MB")
    parser.add_argument("--json-up-to", type=int, default=100, help="MB that json.load may take on")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--durability", type=Durability, default=Durability.NONE)
    parser.add_argument("--where", type=Path, default=Path())
    options = parser.parse_args()

    rows: list[tuple[object, ...]] = [("history", "noted", "read", "read / noted", "json / noted")]
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="batchpersist-bench-", dir=options.where) as folder:
            rows.append(measure(size, options, Path(folder)))
    table(rows)


def measure(size: int, options: argparse.Namespace, folder: Path) -> tuple[object, ...]:
    """Add runs in turn; a row of the table."""
    layout = Layout(str(folder / "out"), str(folder / "runs"))
    path = Path(layout.snapshot(TASK))
    second = write_history(path, size * 1_000_000)
    store = TaskStateStore(layout.out_dir, layout.runs_dir, durability=options.durability)
    no_cache = TaskStateStore(layout.out_dir, layout.runs_dir, durability=options.durability, cache=False)
    store.record_run(run("first", second))

    contenders: dict[str, Callable[[dict[str, object]], object]] = {
        "json": lambda summary: record_with_json(path, summary),
        "read": no_cache.record_run,
        "prepare": store.record_run,  # notes the history down, for the one that is measured next
        "noted": store.record_run,
    }
    if size > options.json_up_to:
        del contenders["json"]
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.repeat):
        for name, record in contenders.items():
            second += 1
            summary = run(f"added-{second}", second)
            begun = time.perf_counter()
            record(summary)
            seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    noted, read, slow = (medians.get(name, 0.0) for name in ("noted", "read", "json"))
    times = f"{noted * 1000:,.0f} ms", f"{read * 1000:,.0f} ms"
    return f"{size:,} MB", *times, f"{read / noted:.1f}", f"{slow / noted:.0f}" if slow else "-"


def record_with_json(path: Path, summary: dict[str, object]) -> None:
    """Append, for it is the latest run, and replace the file."""
    with path.open("rb") as file:
        snapshot = json.load(file)
    snapshot["runs"].append(summary)
    snapshot["lastRunAt"] = summary["timestamp"]
    beside = path.with_name("beside")
    beside.write_text(json.dumps(snapshot, indent=2, ensure_ascii=False), "utf-8")
    os.replace(beside, path)


if __name__ == "__main__":
    main()
