"""Ids in whose place a batch writes a file of its own are refused, before anything is written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.engine import run

from batchpersist import AuditOptions, BatchOptions, audit_root, preview_batch, run_batch
from batchpersist.batch_job import BatchJob
from batchpersist.errors import UsageError
from batchpersist.events import Event, Progress, RunFailed
from batchpersist.metrics.schema import Metrics
from batchpersist.models import Durability
from batchpersist.partition import Partition
from batchpersist.paths import Layout
from batchpersist.plan.id_collisions import OwnPaths


@pytest.mark.parametrize(
    ("path", "task_id", "run_id"),
    [
        ("out/metrics.json", "metrics.json", "r"),
        ("out/metrics.json", "Metrics.JSON", "r"),
        ("runs/t", "t", "r"),
        ("runs/t/r", "t", "r"),
        ("runs/t/R", "t", "r"),
        ("link/metrics.json", "metrics.json", "r"),
        ("runs/out", "out", "r"),
    ],
)
def test_a_path_is_in_the_way_of_the_ids_whose_place_it_is(
    tmp_path: Path, path: str, task_id: str, run_id: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    layout = Layout(str(tmp_path / "out"), str(tmp_path / "runs"))
    paths = OwnPaths(layout, [str(tmp_path / path)])
    assert paths.at(task_id, run_id) == str(tmp_path / path)
    assert paths.at("other", run_id) is None


@pytest.mark.parametrize(
    "path", ["metrics.json", "out", "out/t/more.json", "out/t/deep/runs.json", "runs/t/r/x"]
)
def test_other_paths_take_no_folder(tmp_path: Path, path: str) -> None:
    layout = Layout(str(tmp_path / "out"), str(tmp_path / "runs"))
    assert not OwnPaths(layout, [str(tmp_path / path)]).concern(Path(path).parts)


@pytest.mark.parametrize(
    "path",
    [
        "out/t/runs.json",
        "out/T/Runs.json",
        "out/t/state.json",
        "link/t/runs.json",
        "runs/t.lock",
        "runs/t.lock.acquire",
        "runs/t/r/manifest.json",
        "runs/.batchpersist/batch.lock",
    ],
)
@pytest.mark.parametrize("name", ["metrics", "outcomes", "prometheus_textfile"])
def test_no_output_takes_the_place_of_a_file_of_runs(tmp_path: Path, path: str, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    files: dict[str, Any] = {name: str(tmp_path / path)}
    with pytest.raises(UsageError, match=r"name another file|named \.parquet or \.csv, not"):
        BatchJob(BatchOptions(str(tmp_path / "out"), str(tmp_path / "runs"), **files)).check_paths()


def test_one_run_can_be_in_the_way_and_the_others_of_its_task_are_not(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "out"), str(tmp_path / "runs"))
    paths = OwnPaths(layout, [str(tmp_path / "runs/t/r")])
    assert paths.at("t", "s") is None


def batch(root: Path, *tasks: str, **more: Any) -> tuple[Metrics, list[Event]]:
    source, seen = root / "a.jsonl", list[Event]()
    source.write_text("".join(json.dumps(run(task, number)) + "\n" for number, task in enumerate(tasks)))
    options = BatchOptions(str(root / "out"), str(root / "runs"), durability=Durability.NONE, **more)
    preview = preview_batch([str(source)], options)
    report = run_batch([str(source)], options, on_event=seen.append)
    assert preview.invalid == report.metrics.counts.invalid
    return report.metrics, seen


@pytest.mark.parametrize("name", ["metrics.json", "METRICS.json"])
def test_a_task_with_the_name_of_the_metrics_is_reported_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    for _ in range(2):  # the second time the metrics are there, and the source is known
        metrics, seen = batch(tmp_path, name, "t")
        assert (metrics.counts.invalid, metrics.counts.both_ok) == (1, 1)
        [told] = [event for event in seen if isinstance(event, RunFailed)]
        assert "where the batch writes a file of its own" in told.failure.message
        assert told.failure.detail == ascii(str(tmp_path / "out" / "metrics.json"))
        settled = [event for event in seen if isinstance(event, Progress) and event.phase == "settle"]
        assert settled
        assert seen.index(told) < seen.index(settled[0])
    assert sorted(os.listdir(tmp_path / "out")) == ["metrics.json", "t"]
    assert (tmp_path / "out" / "metrics.json").is_file()
    assert sorted(os.listdir(tmp_path / "runs")) == [".batchpersist", "t"]


def test_each_file_that_a_batch_writes_takes_its_place(tmp_path: Path) -> None:
    files = {"metrics": "out/a", "outcomes": "runs/b", "prometheus_textfile": "out/c.prom"}
    named = {name: str(tmp_path / path) for name, path in files.items()}
    (tmp_path / "out").mkdir()
    metrics, _ = batch(tmp_path, "a", "b", "c.prom", "metrics.json", **named)
    assert (metrics.counts.invalid, metrics.counts.persisted) == (3, 1)


def test_the_files_of_other_shards_are_in_the_way_as_well(tmp_path: Path) -> None:
    metrics, _ = batch(tmp_path, "metrics-1-of-2.json", "metrics-2-of-2.json", partition=Partition(1, 2))
    other, _ = batch(tmp_path, "metrics-1-of-2.json", "metrics-2-of-2.json", partition=Partition(2, 2))
    assert metrics.counts.invalid + other.counts.invalid == 2
    assert metrics.counts.persisted + other.counts.persisted == 0


def test_audit_looks_at_a_task_of_that_name(tmp_path: Path) -> None:
    batch(tmp_path, "metrics.json", metrics=str(tmp_path / "m.json"))
    (tmp_path / "runs" / "metrics.json" / "run-0" / "manifest.json").unlink()
    report = audit_root(AuditOptions(str(tmp_path / "out"), str(tmp_path / "runs"), pause_seconds=0.0))
    assert (report.exit_code, report.runs) == (5, 1)
