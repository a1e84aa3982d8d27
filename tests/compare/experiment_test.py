"""The time that a comparison is given, on a clock that the measured batches turn."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import sample_metrics
from support.engine import run

from batchpersist.compare import experiment
from batchpersist.compare.measure import Measurement
from batchpersist.compare.options import CompareOptions
from batchpersist.compare.run import compare_batches
from batchpersist.context import RunContext
from batchpersist.errors import ComparisonStoppedError, MeasurementError
from batchpersist.options import BatchOptions

RUNS = 6_000
TASKS = 10


class World:
    """Batches that take so many seconds of a clock that nothing else turns."""

    def __init__(self, each: float, each_byte: float) -> None:
        self.now = 0.0
        self._each = each
        self._each_byte = each_byte
        self.measured: list[tuple[str, int, int]] = []

    def clock(self) -> float:
        return self.now

    def takes(self, rows: int, options: BatchOptions) -> float:
        if options.commit == "task":
            return 0.3 + rows * self._each / options.workers
        return 0.3 + rows * self._each + rows * rows / TASKS * 300 * self._each_byte

    def measure(
        self, _sources: Sequence[str], options: BatchOptions, _folder: str, context: RunContext
    ) -> Measurement:
        rows = options.selection.limit or 0
        wall = self.takes(rows, options)
        for _ in range(100):
            self.now += wall / 100
            if context.is_stopping:
                raise ComparisonStoppedError
        os.makedirs(options.out_dir)
        self.measured.append((options.commit, options.workers, rows))
        counts = sample_metrics.counts(selected=rows, persisted=rows)
        timing = sample_metrics.timing(syncs=1, pair_seconds=1.0, sum_if_sequential=1.0)
        return Measurement(
            wall=wall,
            cpu_seconds=0.0,
            metrics=sample_metrics.metrics(counts=counts, timing=timing),
        )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("source") / "runs.jsonl"
    lines = (json.dumps(run(f"task-{n % TASKS}", 0) | {"runId": f"r{n}"}) for n in range(RUNS))
    path.write_text("\n".join(lines))
    return str(path)


def compare(
    source: str, world: World, monkeypatch: pytest.MonkeyPatch, folder: Path, **options: Any
) -> dict[str, Any]:
    monkeypatch.setattr(experiment, "measure", world.measure)
    monkeypatch.setattr(experiment, "perf_counter", world.clock)
    monkeypatch.setattr("batchpersist.context.monotonic", world.clock)
    roots = {"out_dir": str(folder / "out"), "runs_dir": str(folder / "runs")}
    return compare_batches([source], CompareOptions(**roots, **options)).document


@pytest.mark.parametrize("max_time", [20.0, 60.0, 600.0])
@pytest.mark.parametrize(("each", "each_byte"), [(1e-4, 1e-9), (1e-3, 3e-8)])
def test_comparison_ends_within_its_time(
    source: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    max_time: float,
    each: float,
    each_byte: float,
) -> None:
    world = World(each, each_byte)
    try:
        compare(source, world, monkeypatch, tmp_path, max_time_seconds=max_time)
    except MeasurementError:
        assert max_time == 20.0
    assert world.now <= max_time


def test_workers_are_measured_on_all_runs_and_modes_on_a_sample(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(1e-3, 4e-9)
    document = compare(source, world, monkeypatch, tmp_path, max_time_seconds=150.0)
    workers, mode = document["questions"]
    assert workers["sample"] == {
        "runs": RUNS,
        "tasks": TASKS,
        "bytes": workers["sample"]["bytes"],
        "reason": None,
    }
    assert workers["rounds"]["measured"] >= 3
    assert 100 <= mode["sample"]["runs"] < RUNS
    advice = document["recommendation"]
    assert advice["command"] == "batchpersist run SOURCES -j 2"
    assert advice["seconds"] == pytest.approx(0.3 + RUNS * 1e-3 / 2)
    whole = world.takes(RUNS, BatchOptions(commit="run"))
    assert advice["one_by_one_seconds"] == pytest.approx(whole, rel=0.3)


def test_the_mode_is_left_out_before_the_workers_are_measured_on_too_few_runs(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(4e-3, 3e-8)
    document = compare(source, world, monkeypatch, tmp_path, max_time_seconds=56.0)
    assert [each["question"] for each in document["unanswered"]] == ["mode"]
    assert "fitted into 56 s" in document["unanswered"][0]["reason"]
    (workers,) = document["questions"]
    assert workers["sample"]["runs"] >= 2_000
    assert all(rows >= 2_000 or rows == 1 for commit, _, rows in world.measured if commit == "task")


def test_too_little_time_for_a_single_round_is_an_error(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(MeasurementError, match=r"workers: not one round of all its variants fitted into 3 s"):
        compare(source, World(1e-3, 3e-8), monkeypatch, tmp_path, max_time_seconds=3.0)


def test_interruption_is_not_mistaken_for_the_end_of_the_time(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(1e-3, 3e-8)
    monkeypatch.setattr(experiment, "measure", world.measure)
    with pytest.raises(ComparisonStoppedError):
        compare_batches(
            [source],
            CompareOptions(out_dir=str(tmp_path / "o"), runs_dir=str(tmp_path / "r")),
            should_stop=lambda: world.now > 1,
        )
