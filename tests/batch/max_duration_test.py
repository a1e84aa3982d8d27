"""``--max-duration``: a batch that is out of time stops, and the next one continues it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.engine import run, tree

from batchpersist.batch.run import run_batch
from batchpersist.cli.main import cli
from batchpersist.events import Event, Progress
from batchpersist.locks.batch_lock import BatchLock
from batchpersist.options import BatchOptions, FailurePolicy
from batchpersist.paths import Layout


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps(run(f"task-{n % 3}", n)) for n in range(9)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, ["run", *words], catch_exceptions=False)


def test_a_batch_out_of_time_is_continued_by_the_next(folder: Path) -> None:
    runs = [run(f"task-{n % 40:02d}", n) for n in range(1200)]
    Path("many.jsonl").write_text("".join(json.dumps(item) + "\n" for item in runs))
    watched = FailurePolicy(limit=100, percent=True)  # makes for many small shards
    seen: list[Event] = []

    def watch(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Progress) and event.phase == "settle":
            time.sleep(1)

    first = run_batch(
        ["many.jsonl"], BatchOptions(failure_policy=watched, max_duration_seconds=0.9), on_event=watch
    )
    assert (first.state, first.exit_code) == ("timed_out", 12)
    assert (first.metrics.state, first.metrics.interrupted) == ("timed_out", False)
    settled = first.metrics.counts.both_ok
    assert len([event for event in seen if isinstance(event, Progress) and event.phase == "settle"]) <= 1
    second = run_batch(["many.jsonl"], BatchOptions(failure_policy=watched))
    assert (second.state, second.metrics.parts) == ("finished", 2)
    assert second.metrics.counts.resumed == settled
    assert second.metrics.counts.both_ok == 1200
    run_batch(["many.jsonl"], BatchOptions(out_dir="out2", runs_dir="runs2"))
    assert tree(folder / ".runs") == tree(folder / "runs2")


def test_time_spent_waiting_for_another_batch_counts() -> None:
    with BatchLock(Layout("out", ".runs"), "another"):
        result = invoke("runs.jsonl", "--wait", "3600", "--max-duration", "0.3s")
    assert result.exit_code == 11
