"""A program that uses the library, for type checkers: `mypy --strict` must accept it (`.ci/package.py`).

A comment that ignores an error is itself an error where mypy finds none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import batchpersist
from batchpersist import (
    BatchOptions,
    BatchPersistError,
    BatchReport,
    Durability,
    EventBus,
    FailurePolicy,
    Keys,
    Metrics,
    PersistenceCoordinator,
    Preview,
    Progress,
    RetryPolicy,
    RunFailed,
    RunManifestWriter,
    Selection,
    Side,
    TaskStateStore,
    preview_batch,
    run_batch,
)


def persist(folder: Path, sources: list[str]) -> int:
    options = BatchOptions(
        out_dir=str(folder / "out"),
        runs_dir=str(folder / "runs"),
        workers=2,
        durability=Durability.FILE,
        selection=Selection(tasks=("billing-*",)),
        failure_policy=FailurePolicy(limit=5, percent=True),
        retry_policy=RetryPolicy(rounds=2),
    )
    try:
        preview: Preview = preview_batch(sources, options)
        if not preview.new:
            return preview.exit_code
        report: BatchReport = run_batch(sources, options, on_event=show, should_stop=lambda: False)
    except BatchPersistError as error:
        return error.exit_code
    metrics: Metrics = report.metrics
    failed: int = metrics.counts.failed
    return report.exit_code if failed else 0


def show(event: object) -> None:
    if isinstance(event, Progress):
        print(f"{event.phase}: {event.done} of {event.total}")
    elif isinstance(event, RunFailed):
        print(f"{event.source}:{event.line}: {event.failure.message}")


def record(summary: dict[str, Any]) -> Side:
    store = TaskStateStore("out", ".runs", keys=Keys(task="task_id"))
    writer = RunManifestWriter(".runs")
    bus = EventBus()
    PersistenceCoordinator(store, writer, None, bus, pair="sequential").start()
    bus.emit("run:completed", summary)
    side: Side = writer.write(summary)
    return side


def wrong() -> None:
    run_batch(42)  # type: ignore[arg-type]
    BatchOptions(workers="two")  # type: ignore[arg-type]
    BatchOptions(commit="never")  # type: ignore[arg-type]
    _: int = batchpersist.nothing  # type: ignore[attr-defined]
    __: str = record({})  # type: ignore[assignment]
