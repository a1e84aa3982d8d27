"""How long does a commit hold the task's lock, alone and beside a program that keeps adding to the task?"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import ClassVar

from histories import PATIENT, TASK, keep_adding, run, write_history
from measure import table

from batchpersist.locks.task_lock import TaskLock
from batchpersist.models import Durability
from batchpersist.paths import Layout
from batchpersist.snapshots import commit
from batchpersist.snapshots.store import TaskStateStore
from batchpersist.storage.fingerprint import Fingerprint


class TimedLock(TaskLock):
    """A lock that records for how many seconds it is held, each time."""

    held: ClassVar[list[float]] = []

    def acquire(self) -> None:
        super().acquire()
        self._since = time.perf_counter()

    def release(self) -> bool:
        kept = super().release()
        TimedLock.held.append(time.perf_counter() - self._since)
        return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100], help="of the history, in MB")
    parser.add_argument("--commits", type=int, default=5)
    parser.add_argument(
        "--pause", type=float, default=0.1, help="of the other program between its runs, seconds"
    )
    parser.add_argument("--durability", type=Durability, default=Durability.BATCH)
    parser.add_argument("--where", type=Path, default=Path())
    options = parser.parse_args()
    commit.TaskLock = TimedLock  # type: ignore[misc]

    rows: list[tuple[object, ...]] = [("history", "", "longest hold", "locks a commit", "wall a commit")]
    for size in options.sizes:
        for beside in (False, True):
            with tempfile.TemporaryDirectory(prefix="batchpersist-bench-", dir=options.where) as folder:
                rows.append(measure(size, beside, options, Path(folder)))
    table(rows)


def measure(size: int, beside: bool, options: argparse.Namespace, folder: Path) -> tuple[object, ...]:
    """Commit runs one at a time; a row of the table."""
    layout = Layout(str(folder / "out"), str(folder / "runs"))
    count = write_history(Path(layout.snapshot(TASK)), size * 1_000_000)
    store = TaskStateStore(
        layout.out_dir, layout.runs_dir, lock_policy=PATIENT, durability=options.durability
    )
    store.record_run(run("first", count))  # it reads the whole history, as every first one does

    stop = folder / "stop"
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=keep_adding, args=(layout, count + 1, options.pause, stop))
    if beside:
        before = Fingerprint.at(layout.snapshot(TASK))
        other.start()
        while Fingerprint.at(layout.snapshot(TASK)) == before:
            time.sleep(0.01)
    TimedLock.held.clear()
    begun = time.perf_counter()
    # Before all that the other program adds, whose lastRunAt is thus right; every other one before "first".
    mine = [run(f"mine-{n}", count + (0.5 if n % 2 else -0.5)) for n in range(options.commits)]
    for summary in mine:
        store.record_run(summary)
    wall = time.perf_counter() - begun
    stop.touch()
    if beside:
        other.join()
    check(layout, count, mine)
    situation = "beside a writer" if beside else "alone"
    hold = f"{max(TimedLock.held) * 1000:.1f} ms"
    locks = f"{len(TimedLock.held) / options.commits:.1f}"
    return f"{size:,} MB", situation, hold, locks, f"{wall / options.commits:.2f} s"


def check(layout: Layout, count: int, mine: list[dict[str, object]]) -> None:
    """Check that no run of either program is lost."""
    with open(layout.snapshot(TASK), "rb") as file:
        ids = [entry["runId"] for entry in json.load(file)["runs"]]
    theirs = [run_id for run_id in ids if run_id.startswith("other-")]
    assert {run["runId"] for run in mine} <= set(ids)
    assert theirs == [f"other-{count + 1 + number}" for number in range(len(theirs))]
    assert len(ids) == count + 1 + len(mine) + len(theirs)


if __name__ == "__main__":
    main()
