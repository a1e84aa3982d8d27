"""The whole job through the library: the same files whatever the way, and totals that add up."""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.engine import Run, run, snapshot_text, text, tree

from batchpersist.batch.dry_run import preview_batch
from batchpersist.batch.run import run_batch
from batchpersist.errors import BatchLockedError, SourceMissingError, UsageError
from batchpersist.events import BatchStarted, Event, Progress, RunFailed
from batchpersist.index import scan
from batchpersist.locks.batch_lock import BatchLock
from batchpersist.metrics.batch_report import BatchReport
from batchpersist.metrics.build import stable
from batchpersist.metrics.schema import read_metrics
from batchpersist.options import BatchOptions, FailurePolicy, LockPolicy, RetryPolicy, Selection
from batchpersist.paths import Layout


def many_runs() -> list[Run]:
    """Three tasks, one of them hot; out of order, with ties, and some runs twice."""
    chance = random.Random(7)
    runs = [run(chance.choice(["hot", "hot", "hot", "b", "c"]), n % 50, note=n) for n in range(70)]
    chance.shuffle(runs)
    return runs


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "runs.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"".join(json.dumps(item).encode() + b"\n" for item in many_runs()))
    return path


@pytest.fixture
def persist(tmp_path: Path, source: Path) -> Callable[..., BatchReport]:
    def persist(root: str = "root", **more: Any) -> BatchReport:
        extra = {name: more.pop(name) for name in ("executor", "on_event", "should_stop") if name in more}
        sources = more.pop("sources", [str(source)])
        return run_batch(sources, options(tmp_path / root, **more), **extra)

    return persist


def options(root: Path, **more: Any) -> BatchOptions:
    return BatchOptions(out_dir=str(root / "out"), runs_dir=str(root / "runs"), pool_runs=0, **more)


def persisted(root: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree(root).items() if name != "out/metrics.json"}


def figures(report: BatchReport) -> Any:
    return {name: value for name, value in stable(report.metrics).items() if name not in ("config", "bytes")}


def test_every_mix_of_workers_commits_and_pairs_gives_the_same_files_and_figures(
    tmp_path: Path, persist: Callable[..., BatchReport]
) -> None:
    expected = None
    for workers, commit, pair in itertools.product((1, 2), ("task", "run"), ("concurrent", "sequential")):
        root = f"{workers}-{commit}-{pair}"
        report = persist(root, workers=workers, commit=commit, pair=pair)
        assert report.exit_code == 0
        found = (persisted(tmp_path / root), figures(report))
        expected = expected or found
        assert found == expected, root
        again = persist(root, workers=workers, commit=commit, pair=pair)
        counts = again.metrics.counts
        if commit == "task":
            assert counts.unchanged == counts.selected > 0, root
            assert again.metrics.bytes.snapshots == again.metrics.bytes.manifests == 0
        assert persisted(tmp_path / root) == expected[0], root


def test_any_executor_will_do(tmp_path: Path, persist: Callable[..., BatchReport]) -> None:
    serial = persist("serial")
    with ThreadPoolExecutor(3) as executor:
        threads = persist("threads", executor=executor, workers=3)
    assert persisted(tmp_path / "threads") == persisted(tmp_path / "serial")
    assert figures(threads) == figures(serial)


def test_metrics_file_and_report_are_the_same(tmp_path: Path, persist: Callable[..., BatchReport]) -> None:
    report = persist(outcomes=str(tmp_path / "outcomes.parquet"))
    assert read_metrics(str(tmp_path / "root/out/metrics.json")) == report.metrics
    assert report.metrics.counts.superseded == 70 - report.metrics.counts.selected > 0
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "outcomes.parquet").num_rows == report.outcomes.num_rows == 70


def test_outcomes_are_csv_where_the_file_is_called_so(
    tmp_path: Path, persist: Callable[..., BatchReport]
) -> None:
    report = persist(outcomes=str(tmp_path / "outcomes.csv"))
    with open(tmp_path / "outcomes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == report.outcomes.column_names
    for name in ("run_id", "status"):
        assert [row[name] for row in rows] == report.outcomes[name].cast("string").to_pylist()
    assert rows[0]["snapshot_error_type"] == ""


def test_a_form_of_outcomes_that_is_not_written_is_refused() -> None:
    for name in ("outcomes.json", "outcomes.csv.gz", "outcomes.xlsx"):
        with pytest.raises(UsageError, match=r"named \.parquet or \.csv, not"):
            BatchOptions(outcomes=name)
    BatchOptions(outcomes="/dev/fd/3")


def test_a_batch_leaves_no_spool_and_no_lock_behind(
    tmp_path: Path, persist: Callable[..., BatchReport]
) -> None:
    persist(workers=2)
    own = [path for path in (tmp_path / "root/runs/.batchpersist").rglob("*") if "cache" not in path.parts]
    (batch,) = (tmp_path / "root/runs/.batchpersist/batches").iterdir()
    assert {path.name for path in own if batch not in path.parents} <= {
        "batches",
        batch.name,
        "batch.gate",
        "batch.lock",
        "locks",
        "break.lock",
        "root.json",
    }
    assert sorted(path.name for path in batch.iterdir()) == [
        "batch.json",
        "journal.jsonl",
        "metrics.json",
        "outcomes.parquet",
        "rejects.parquet",
        "shards.parquet",
    ]
    assert not list((tmp_path / "root").rglob("*.tmp-*"))
    assert not list((tmp_path / "root/runs").glob("*.lock*"))


def test_events_report_progress_and_each_failure(
    tmp_path: Path, source: Path, persist: Callable[..., BatchReport]
) -> None:
    with source.open("ab") as file:
        file.write(b"not json\n")
    (tmp_path / "root/out/hot").mkdir(parents=True)
    (tmp_path / "root/out/hot/runs.json").write_bytes(b"{")
    seen: list[Event] = []
    report = persist(on_event=seen.append)
    failures = [event for event in seen if isinstance(event, RunFailed)]
    assert [(event.stage, event.source, event.line) for event in failures if event.stage == "input"] == [
        ("input", str(source), 71)
    ]
    hot = {event.run_id for event in failures if event.stage == "snapshot"}
    assert len(hot) == len(failures) - 1 == report.metrics.counts.snapshot_failed
    last = seen[-1]
    assert isinstance(last, Progress)
    assert last == Progress("settle", 70, 70, len(failures))
    assert report.exit_code == 3
    assert (tmp_path / "root/out/hot/runs.json").read_bytes() == b"{"


def test_failure_policy_stops_the_batch_and_the_rest_is_not_attempted(
    tmp_path: Path, source: Path, persist: Callable[..., BatchReport]
) -> None:
    runs = [run(f"task-{n}", n) for n in range(60)]
    source.write_bytes(b"".join(json.dumps(item).encode() + b"\n" for item in runs))
    for item in runs:
        (tmp_path / "root/out" / item["taskId"]).mkdir(parents=True)
        (tmp_path / "root/out" / item["taskId"] / "runs.json").write_bytes(b"{")
    report = persist(failure_policy=FailurePolicy(limit=3), workers=2)
    counts = report.metrics.counts
    assert (report.state, report.exit_code) == ("stopped", 4)
    assert counts.failed > 3
    assert counts.not_attempted == 60 - counts.failed > 0
    assert persist(failure_policy=FailurePolicy(limit=60), workers=2).exit_code == 3


def test_invalid_input_counts_for_the_failure_policy(
    tmp_path: Path, source: Path, persist: Callable[..., BatchReport]
) -> None:
    source.write_bytes(b"broken\n" + source.read_bytes())
    report = persist(failure_policy=FailurePolicy(limit=0))
    assert report.exit_code == 4
    assert report.metrics.counts.not_attempted == report.metrics.counts.selected
    assert persisted(tmp_path / "root") == {}
    assert persist(failure_policy=FailurePolicy(limit=1)).exit_code == 3


def test_interrupted_batch_is_finished_by_the_same_command(
    tmp_path: Path, persist: Callable[..., BatchReport]
) -> None:
    expected = persist("whole")
    seen: list[Event] = []

    def stop() -> bool:
        return any(isinstance(event, Progress) and event.phase == "settle" for event in seen)

    report = persist("cut", workers=2, on_event=seen.append, should_stop=stop)
    assert report.state == "interrupted"
    assert report.metrics.interrupted is True
    assert report.metrics.counts.not_attempted > 0
    finished = persist("cut", workers=2)
    assert finished.state == "finished"
    assert finished.metrics.counts.resumed > 0
    assert persisted(tmp_path / "cut") == persisted(tmp_path / "whole")
    assert finished.metrics.counts.selected == expected.metrics.counts.selected


def test_interrupted_scan_persists_nothing(tmp_path: Path, persist: Callable[..., BatchReport]) -> None:
    report = persist(should_stop=lambda: True)
    assert report.state == "interrupted"
    assert report.metrics.counts.discovered == 0
    assert persisted(tmp_path / "root") == {}


def test_selection_is_counted_as_filtered(tmp_path: Path, persist: Callable[..., BatchReport]) -> None:
    report = persist(selection=Selection(tasks=("b",)))
    assert set(persisted(tmp_path / "root")) >= {"out/b/runs.json"}
    assert not any("hot" in name for name in persisted(tmp_path / "root"))
    counts = report.metrics.counts
    assert counts.filtered == 70 - counts.selected - counts.superseded > 0


def test_nothing_is_touched_when_a_source_is_missing_or_unknown(tmp_path: Path, source: Path) -> None:
    with pytest.raises(SourceMissingError):
        run_batch([str(source), str(tmp_path / "absent.jsonl")], options(tmp_path / "root"))
    (tmp_path / "x.txt").touch()
    with pytest.raises(UsageError):
        run_batch([str(tmp_path / "x.txt")], options(tmp_path / "root"))
    assert not (tmp_path / "root").exists()


def test_a_second_batch_on_the_root_is_refused(tmp_path: Path, source: Path) -> None:
    layout = Layout(str(tmp_path / "root/out"), str(tmp_path / "root/runs"))
    with BatchLock(layout, "the first batch"), pytest.raises(BatchLockedError, match="the first batch"):
        run_batch([str(source)], options(tmp_path / "root"))
    assert persisted(tmp_path / "root") == {}


def test_no_runs_at_all(tmp_path: Path, persist: Callable[..., BatchReport]) -> None:
    (tmp_path / "empty").mkdir()
    report = persist(sources=[str(tmp_path / "empty")])
    assert report.exit_code == 0
    assert report.metrics.counts.discovered == 0
    assert report.metrics.tasks == []


def test_names_that_are_not_utf8(tmp_path: Path, persist: Callable[..., BatchReport]) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    odd = str(folder / "r\udcff.json")
    with open(odd, "wb") as file:
        file.write(json.dumps(run("t", 1)).encode())
    report = persist(sources=[str(folder)])
    assert report.metrics.counts.persisted == 1
    assert persisted(tmp_path / "root")["out/t/runs.json"] == snapshot_text("t", [run("t", 1)])


def test_a_runs_dir_gives_the_snapshots_back(tmp_path: Path, persist: Callable[..., BatchReport]) -> None:
    persist("first")
    report = persist("second", sources=[str(tmp_path / "first/runs")])
    first, second = persisted(tmp_path / "first"), persisted(tmp_path / "second")
    assert {name for name in first if name.startswith("runs/")} == {
        name for name in second if name.startswith("runs/")
    }
    for name in first:
        if name.startswith("out/"):
            both = [json.loads(found[name])["runs"] for found in (first, second)]
            assert sorted(map(str, both[0])) == sorted(map(str, both[1]))
    assert report.metrics.counts.superseded == 0


class TestPreview:
    def test_dry_run_predicts_the_batch_and_writes_nothing(
        self, tmp_path: Path, source: Path, persist: Callable[..., BatchReport]
    ) -> None:
        before = preview_batch([str(source)], options(tmp_path / "root"))
        assert not (tmp_path / "root").exists()
        report = persist()
        assert before.new == before.selected == report.metrics.counts.persisted
        assert (before.changed, before.unchanged, before.exit_code) == (0, 0, 0)
        after = preview_batch([str(source)], options(tmp_path / "root", workers=2))
        assert (after.new, after.changed, after.unchanged) == (0, 0, before.selected)

    def test_changed_and_new_runs_are_counted_apart(
        self, tmp_path: Path, source: Path, persist: Callable[..., BatchReport]
    ) -> None:
        source.write_bytes(json.dumps(run("t", 1)).encode())
        persist()
        manifest = tmp_path / "root/runs/t/run-1/manifest.json"
        for content in (text(run("t", 1, mode="cloud")), None):
            manifest.unlink() if content is None else manifest.write_bytes(content)
            preview = preview_batch([str(source)], options(tmp_path / "root"))
            assert (preview.new, preview.changed, preview.unchanged) == (0, 1, 0)

    def test_runs_that_a_batch_would_fail_are_unreadable(self, tmp_path: Path, source: Path) -> None:
        (tmp_path / "root/out/b").mkdir(parents=True)
        (tmp_path / "root/out/b/runs.json").write_bytes(b"{")
        source.write_bytes(source.read_bytes() + b"]\n")
        preview = preview_batch([str(source)], options(tmp_path / "root"))
        assert preview.unreadable > 0
        assert preview.new + preview.unreadable == preview.selected
        assert (preview.invalid, preview.exit_code) == (1, 3)


def test_reports_that_could_not_be_written_are_found_before_the_work(
    tmp_path: Path, persist: Callable[..., BatchReport]
) -> None:
    (tmp_path / "file").touch()
    for more in ({"metrics": str(tmp_path / "file/m.json")}, {"outcomes": str(tmp_path)}):
        with pytest.raises(OSError, match=r"directory|File exists"):
            persist(**more)
    assert persisted(tmp_path / "root") == {}


def test_unwritable_reports_are_named_and_the_runs_persisted(
    tmp_path: Path, source: Path, persist: Callable[..., BatchReport]
) -> None:
    source.write_bytes(json.dumps(run("t", 1)).encode() + b"\n")

    def take_the_place(event: Event) -> None:
        if isinstance(event, BatchStarted):
            (tmp_path / "root/out/metrics.json").mkdir()

    report = persist(outcomes=str(tmp_path / "outcomes.parquet"), on_event=take_the_place)
    assert report.metrics.counts.persisted == 1
    assert [failure.message for failure in report.unwritten] == ["[EISDIR] Is a directory"]
    assert report.exit_code == 1
    assert (tmp_path / "outcomes.parquet").exists()


@pytest.mark.parametrize("wrong", [{"commit": "both"}, {"pair": "x"}, {"workers": 0}, {"durability": "much"}])
def test_options_that_cannot_be_carried_out_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        BatchOptions(**wrong)


def test_paths_and_plain_values_are_accepted_as_options(tmp_path: Path, source: Path) -> None:
    given = BatchOptions(out_dir=tmp_path / "o", runs_dir=tmp_path / "r", durability="none")  # type: ignore[arg-type]
    assert run_batch([source], given).exit_code == 0  # type: ignore[list-item]
    with pytest.raises(UsageError, match="several paths"):
        run_batch(str(source), given)


def test_an_out_dir_within_the_source_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_text(json.dumps(run("t", 1)))
    for _ in range(2):
        roots = BatchOptions(out_dir=str(tmp_path / "out"), runs_dir=str(tmp_path / ".runs"))
        report = run_batch([str(tmp_path)], roots)
        assert (report.exit_code, report.metrics.counts.discovered) == (0, 1)


def test_sum_if_sequential_is_never_less_than_the_time_taken(persist: Callable[..., BatchReport]) -> None:
    timing = persist(workers=2).metrics.timing
    assert timing.sum_if_sequential >= timing.pair_seconds > 0


def read_or_die(part: Any, *_more: Any) -> Any:
    os._exit(9)


def test_source_at_which_a_worker_died_is_invalid_input(
    tmp_path: Path, persist: Callable[..., BatchReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "run_scan_task", read_or_die)
    report = persist(workers=2)
    assert [error.message for error in report.metrics.errors] == ["worker died while reading"]
    assert report.exit_code == 3


@pytest.mark.parametrize("seconds", [float("inf"), float("nan")])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (BatchOptions, "max_duration_seconds"),
        (BatchOptions, "run_timeout_seconds"),
        (BatchOptions, "wait_seconds"),
        (LockPolicy, "stale_seconds"),
        (RetryPolicy, "wait_for_space_seconds"),
    ],
)
def test_seconds_that_are_no_number_are_refused_before_anything_is_written(
    kind: type[Any], name: str, seconds: float
) -> None:
    """A lock would be stale at once after nan seconds, and neither can be written as JSON."""
    with pytest.raises(UsageError, match=f"{name} must be a finite number"):
        kind(**{name: seconds})
