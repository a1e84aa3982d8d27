"""``--shard K/N``: commands that know nothing of each other do together what one would have done."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from support.engine import await_tick, run, tree
from support.model import persist

from batchpersist.batch.dry_run import preview_batch
from batchpersist.batch.run import run_batch
from batchpersist.batch.status import batch_statuses
from batchpersist.batch_job import BatchJob
from batchpersist.cli.main import cli
from batchpersist.errors import BatchLockedError, SourceMissingError, UsageError
from batchpersist.locks.batch_lock import BatchLock
from batchpersist.metrics.batch_report import BatchReport
from batchpersist.metrics.build import stable
from batchpersist.metrics.merge_partitions import (
    PartitionMetrics,
    check_partitions,
    merge_partitions,
    read_partition,
    worst_exit_code,
)
from batchpersist.metrics.schema import Percentiles
from batchpersist.options import BatchOptions, FailurePolicy, Selection
from batchpersist.partition import Partition
from batchpersist.paths import Layout
from batchpersist.records.batch_folder import BatchFolder, batch_name, list_batches

N = 3
RUNS = [run(f"task-{n % 11}", n % 60, note=n) for n in range(150)]
HOLD = """
import sys, time
from batchpersist.locks.batch_lock import BatchLock
from batchpersist.paths import Layout
with BatchLock(Layout(*sys.argv[1:]), "it"):
    print("held", flush=True)
    time.sleep(600)
"""
SCHEMA = json.loads((Path(__file__).parents[2] / "batchpersist" / "metrics.schema.json").read_text())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in RUNS) + "no run\n[]\n")
    return path


def options(root: Path, number: int | None = None, **more: Any) -> BatchOptions:
    shard = Partition(number, more.pop("of", N)) if number else None
    return BatchOptions(out_dir=str(root / "out"), runs_dir=str(root / "runs"), partition=shard, **more)


def shards(root: Path, source: Path, **more: Any) -> list[BatchReport]:
    return [run_batch([str(source)], options(root, number, **more)) for number in range(1, N + 1)]


def parts_of(root: Path) -> list[PartitionMetrics]:
    return [read_partition(str(root / "out" / f"metrics-{n}-of-{N}.json")) for n in range(1, N + 1)]


def persisted(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(root).items() if not name.startswith("out/metrics")}


def test_all_partitions_write_what_one_batch_writes(tmp_path: Path, source: Path) -> None:
    persist(RUNS, tmp_path / "model" / "out", tmp_path / "model" / "runs")
    reports = shards(tmp_path / "shards", source)
    assert persisted(tmp_path / "shards") == tree(tmp_path / "model")
    tasks = [{task.task_id for task in report.metrics.tasks} for report in reports]
    assert all(tasks), "a shard without a task shows little"
    assert sum(map(len, tasks)) == len(set().union(*tasks)) == 11
    for report in reports:
        counts = report.metrics.counts
        assert counts.discovered == 152
        assert counts.other_shards == 150 - counts.selected - counts.superseded > 0
        assert counts.invalid == 2
        assert report.exit_code == 3


def test_merged_metrics_equal_those_of_one_batch(tmp_path: Path, source: Path) -> None:
    whole = run_batch([str(source)], options(tmp_path / "whole")).metrics
    shards(tmp_path / "shards", source)
    merged = merge_partitions(check_partitions(parts_of(tmp_path / "shards"), partial=False))
    Draft202012Validator(SCHEMA).validate(msgspec.to_builtins(merged))
    expected, found = stable(whole), stable(merged)
    for varying in ("config", "bytes"):
        expected.pop(varying)
        found.pop(varying)
    assert found == expected
    assert merged.bytes == msgspec.structs.replace(whole.bytes, read=N * whole.bytes.read)
    assert merged.config["shard"] is None
    assert merged.config["sources"] == [str(source)]


def test_merged_percentiles_cover_all_runs(tmp_path: Path, source: Path) -> None:
    reports = shards(tmp_path, source)
    merged = merge_partitions(parts_of(tmp_path)).timing
    for side in ("snapshot", "manifest", "pair"):
        seconds = sorted(
            value
            for report in reports
            for value, status in zip(
                report.outcomes[f"{side}_seconds"].to_pylist(),
                report.outcomes["status"].to_pylist(),
                strict=True,
            )
            if status == "persisted"
        )
        assert getattr(merged, side).max == round(seconds[-1], 6)
        assert getattr(merged, side).p50 == round(seconds[len(seconds) // 2], 6)
    folder = list_batches(BatchJob(options(tmp_path)).layout)[1]
    os.unlink(folder.outcomes)
    without = merge_partitions(parts_of(tmp_path)).timing
    assert without.pair == Percentiles(p50=None, p90=None, p99=None, max=merged.pair.max)


def test_a_selection_means_the_same_to_all_of_them(tmp_path: Path, source: Path) -> None:
    """Also a limit: together they settle what one batch of this limit would."""
    selection = Selection(tasks=("task-?",), limit=40)
    run_batch([str(source)], options(tmp_path / "whole", selection=selection))
    reports = shards(tmp_path / "shards", source, selection=selection)
    assert persisted(tmp_path / "shards") == persisted(tmp_path / "whole")
    counts = [report.metrics.counts for report in reports]
    assert sum(found.selected + found.superseded for found in counts) == 40
    assert sum(found.filtered for found in counts) == 110


def test_dry_run_of_a_partition_compares_its_own_tasks(tmp_path: Path, source: Path) -> None:
    reports = shards(tmp_path, source)
    for number, report in enumerate(reports, 1):
        preview = preview_batch([str(source)], options(tmp_path, number))
        counts = report.metrics.counts
        assert (preview.unchanged, preview.selected) == (counts.persisted, counts.selected)
        assert preview.other_shards == counts.other_shards


def test_each_has_files_of_its_own_under_the_same_options(tmp_path: Path, source: Path) -> None:
    shards(tmp_path, source, metrics=str(tmp_path / "m.v1.json"), outcomes=str(tmp_path / "all.parquet"))
    names = {path.name for path in tmp_path.iterdir()}
    for number in range(1, N + 1):
        assert {f"m.v1-{number}-of-3.json", f"all-{number}-of-3.parquet"} <= names
    assert not {"m.v1.json", "all.parquet"} & names
    rows = sum(pq.read_table(tmp_path / f"all-{n}-of-3.parquet").num_rows for n in range(1, N + 1))
    assert rows == 150


def test_each_partition_has_its_own_cache(tmp_path: Path, source: Path) -> None:
    source.write_text("".join(json.dumps(item) + "\n" for item in RUNS))
    await_tick()
    shards(tmp_path, source)
    for report in shards(tmp_path, source):
        counts = report.metrics.counts
        assert (counts.unchanged, counts.discovered) == (counts.selected, 150)
        assert report.metrics.timing.cached_sources == 1
    whole = run_batch([str(source)], options(tmp_path)).metrics.counts
    assert whole.unchanged == whole.selected


def test_the_policy_s_percentage_is_of_its_own_runs(tmp_path: Path, source: Path) -> None:
    """2 invalid lines are below 2% of all 152, but above it of a shard's."""
    policy = FailurePolicy(limit=2.0, percent=True)
    assert run_batch([str(source)], options(tmp_path / "whole", failure_policy=policy)).exit_code == 3
    assert {report.exit_code for report in shards(tmp_path / "shards", source, failure_policy=policy)} == {4}


def test_a_shard_is_continued_by_its_own_command(tmp_path: Path, source: Path) -> None:
    first = run_batch([str(source)], options(tmp_path, 1), should_stop=lambda: True)
    assert first.state == "interrupted"
    other = run_batch([str(source)], options(tmp_path, 2))
    whole = run_batch([str(source)], options(tmp_path))
    again = run_batch([str(source)], options(tmp_path, 1))
    assert [report.metrics.parts for report in (other, whole, again)] == [1, 1, 2]
    assert again.metrics.batch_id == first.metrics.batch_id


def test_each_keeps_its_own_last_batches(tmp_path: Path, source: Path) -> None:
    """A shard that ends must not remove the folder of another that is at work."""
    for _ in range(2):
        shards(tmp_path, source, keep_batches=1)
    run_batch([str(source)], options(tmp_path, keep_batches=1))
    records = [folder.read_record() for folder in list_batches(BatchJob(options(tmp_path)).layout)]
    assert sorted(record.shard for record in records) == ["", "1-of-3", "2-of-3", "3-of-3"]


def test_running_batch_of_another_partition_is_not_cleared(tmp_path: Path, source: Path) -> None:
    """Nor is its spool removed; a whole batch knows that nobody else can be at work."""
    for number in (1, 2):
        run_batch([str(source)], options(tmp_path, number))
    folders = {}
    for folder in list_batches(BatchJob(options(tmp_path)).layout):
        record = folder.read_record()
        record.state = "running"
        folder.write_record(record)
        os.makedirs(folder.spool)
        folders[record.shard] = Path(folder.spool)
    run_batch([str(source)], options(tmp_path, 1, resume=False))
    assert {name: spool.exists() for name, spool in folders.items()} == {"1-of-3": False, "2-of-3": True}
    run_batch([str(source)], options(tmp_path, resume=False))
    assert not folders["2-of-3"].exists()


# Locks


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("1-of-3", "2-of-3", True),
        ("1-of-3", "1-of-3", False),
        ("1-of-3", "1-of-4", False),
        ("1-of-3", "2-of-4", False),
        ("1-of-3", "", False),
        ("", "1-of-3", False),
    ],
)
def test_who_may_work_at_the_same_time(tmp_path: Path, first: str, second: str, both: bool) -> None:
    mine, theirs = (Layout(str(tmp_path / "out"), str(tmp_path / "runs"), shard) for shard in (first, second))
    with BatchLock(mine, "the first"):
        if both:
            with BatchLock(theirs, "the second"), pytest.raises(BatchLockedError, match="the first"):
                BatchLock(mine, "again").acquire()
        else:
            with pytest.raises(BatchLockedError, match="the first"):
                BatchLock(theirs, "the second").acquire()
    with BatchLock(theirs, "afterwards"):
        pass


def test_all_of_them_at_once_in_processes_of_their_own(tmp_path: Path, source: Path) -> None:
    command = [sys.executable, "-m", "batchpersist", "run", str(source), "-j1", "-q", "--shard"]
    processes = [subprocess.Popen([*command, f"{n}/{N}"], cwd=tmp_path) for n in range(1, N + 1)]
    assert [process.wait() for process in processes] == [3] * N
    persist(RUNS, tmp_path / "model" / "out", tmp_path / "model" / "runs")
    found = {name: data for name, data in persisted(tmp_path).items() if name.startswith(("out/", ".runs/"))}
    assert found == {name.replace("runs/", ".runs/", 1) if name.startswith("runs/") else name: data
                     for name, data in tree(tmp_path / "model").items()}  # fmt: skip
    merge = [sys.executable, "-m", "batchpersist", "merge-metrics", "-o", "all.json"]
    merge += [f"out/metrics-{n}-of-{N}.json" for n in range(1, N + 1)]
    result = subprocess.run(merge, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 3
    assert result.stdout.splitlines()[-1].startswith("Done: ")
    assert json.loads((tmp_path / "all.json").read_text())["counts"]["persisted"] == 150 - superseded()


def superseded() -> int:
    return len(RUNS) - len({(item["taskId"], item["runId"]) for item in RUNS})


def test_killed_partition_does_not_block_the_others(tmp_path: Path, source: Path) -> None:
    layout = BatchJob(options(tmp_path, 2)).layout
    command = [sys.executable, "-c", HOLD, layout.out_dir, layout.runs_dir, layout.shard]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        run_batch([str(source)], options(tmp_path, 1))
        with pytest.raises(BatchLockedError):
            run_batch([str(source)], options(tmp_path, 2))
        process.send_signal(signal.SIGKILL)
    run_batch([str(source)], options(tmp_path, 2))


def test_a_gate_that_is_stuck_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    monkeypatch.setattr("batchpersist.locks.batch_lock.GATE_SECONDS", 0.1)
    layout = BatchJob(options(tmp_path, 1)).layout
    os.makedirs(layout.own_dir)
    started = time.monotonic()
    with FileLock(layout.batch_gate), pytest.raises(BatchLockedError):
        BatchLock(layout, "late").acquire()
    assert time.monotonic() > started


# Merging


@pytest.fixture
def merge(tmp_path: Path, source: Path) -> Callable[..., list[PartitionMetrics]]:
    """Parts that a change was made to before they are checked."""
    shards(tmp_path, source)

    def merge(*numbers: int, partial: bool = False, **changes: Any) -> list[PartitionMetrics]:
        for number in numbers:
            path = tmp_path / "out" / f"metrics-{number}-of-{N}.json"
            metrics = json.loads(path.read_text())
            metrics["config"].update(changes)
            path.write_text(json.dumps(metrics))
        return check_partitions(parts_of(tmp_path), partial=partial)

    return merge


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"shard": "2/4"}, r"is shard 1/3, but .*metrics-2-of-3\.json is 2/4"),
        ({"shard": "1/3"}, r"shard 1 is there twice: .*1-of-3\.json and .*2-of-3\.json"),
        ({"shard": None}, r"2-of-3\.json: these metrics are not a shard's"),
        ({"shard": "x"}, r"expected a shard such as 3/8"),
        (
            {"since": "2026"},
            r"not shards of one batch: since is None in .*1-of-3\.json, '2026' in .*2-of-3\.json",
        ),
        ({"sources": ["a"]}, r"not shards of one batch: sources"),
        ({"retry_of": {"batch_id": "x"}}, r"not shards of one batch: retry_of is None in"),
    ],
)
def test_parts_of_different_batches_are_refused(
    merge: Callable[..., list[PartitionMetrics]], changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        merge(2, **changes)


def test_other_options_may_differ(merge: Callable[..., list[PartitionMetrics]]) -> None:
    merged = merge_partitions(merge(2, workers=17, retries=3))
    assert merged.config["workers"] is None
    assert merged.config["durability"] == "batch"


def test_missing_partitions_are_named_or_left_out(tmp_path: Path, source: Path) -> None:
    shards(tmp_path, source)
    parts = [part for part in parts_of(tmp_path) if part.shard.number != 2]
    with pytest.raises(UsageError, match=r"shards are missing of 3: 2 \(--partial"):
        check_partitions(parts, partial=False)
    merged = merge_partitions(check_partitions(parts, partial=True))
    Draft202012Validator(SCHEMA).validate(msgspec.to_builtins(merged))
    missing = parts_of(tmp_path)[1].metrics.counts
    assert merged.counts.other_shards == missing.selected + missing.superseded
    assert merged.counts.discovered == 152


def test_a_task_in_two_parts_is_refused(tmp_path: Path, source: Path) -> None:
    reports = shards(tmp_path, source)
    task = reports[0].metrics.tasks[0]
    path = tmp_path / "out" / "metrics-3-of-3.json"
    metrics = json.loads(path.read_text())
    metrics["tasks"].append(msgspec.to_builtins(task))
    path.write_text(json.dumps(metrics))
    with pytest.raises(UsageError, match=f"two of them settled the task {task.task_id}"):
        merge_partitions(parts_of(tmp_path))


@pytest.mark.parametrize("text", ["", "{}", "[]", "\xff", '{"schema_version": 2}'])
def test_file_that_is_not_metrics_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"m\.json: not the metrics of a batch"):
        read_partition(str(path))
    with pytest.raises(SourceMissingError):
        read_partition(str(tmp_path / "none.json"))


def test_a_source_whose_name_is_no_text_stops_no_merge(tmp_path: Path, source: Path) -> None:
    path = source.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl"))
    shards(tmp_path, path)
    merged = merge_partitions(check_partitions(parts_of(tmp_path), partial=False))
    assert merged.config["sources"] == [str(path)]


def test_failures_add_up_and_invalid_input_does_not(tmp_path: Path, source: Path) -> None:
    """A line that all met counts once; files that one of them could not read count each."""
    shards(tmp_path, source)
    for number in (1, 2):
        path = tmp_path / "out" / f"metrics-{number}-of-3.json"
        metrics = json.loads(path.read_text())
        sample = {"source": f"{number}.jsonl", "line": 0, "task_id": None, "run_id": None, "detail": ""}
        metrics["errors"].append(
            {"stage": "input", "type": "OSError", "message": "[EIO]", "count": 1, "samples": [sample]}
        )
        metrics["counts"]["invalid"] += 1
        metrics["counts"]["discovered"] += 1
        path.write_text(json.dumps(metrics))
    merged = merge_partitions(parts_of(tmp_path))
    assert merged.counts.invalid == 4
    assert {error.message: error.count for error in merged.errors}["[EIO]"] == 2


def test_the_worst_exit_code_is_that_of_all() -> None:
    assert worst_exit_code([0, 0]) == 0
    assert worst_exit_code([3, 0]) == 3
    assert worst_exit_code([0, 4, 3]) == 4
    assert worst_exit_code([0, 12, 3]) == 12
    assert worst_exit_code([130, 4, 12]) == 130


@pytest.mark.parametrize(
    ("state", "code"), [("finished", 3), ("timed_out", 12), ("stopped", 4), ("interrupted", 130)]
)
def test_a_shard_that_ended_early_makes_the_whole_so(
    tmp_path: Path, source: Path, state: str, code: int
) -> None:
    shards(tmp_path, source)
    path = tmp_path / "out" / "metrics-2-of-3.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "state": state}))
    parts = parts_of(tmp_path)
    assert merge_partitions(parts).state == state
    assert [part.exit_code for part in parts] == [3, code, 3]


def test_a_shard_s_status_is_that_of_its_own_lock(tmp_path: Path, source: Path) -> None:
    for number in (1, 2):
        run_batch([str(source)], options(tmp_path, number))
    for folder in list_batches(BatchJob(options(tmp_path)).layout):
        record = folder.read_record()
        record.state = "running"
        folder.write_record(record)
    first = folder_of(tmp_path, "1-of-3")
    with BatchLock(BatchJob(options(tmp_path, 1)).layout, batch_name(first.batch_id)):
        states = {
            item.record.shard: item.state for item in batch_statuses(BatchJob(options(tmp_path)).layout)
        }
        words = ["status", "--runs-dir", str(tmp_path / "runs")]
        shown = CliRunner().invoke(cli, words, catch_exceptions=False).stdout
        detail = CliRunner().invoke(cli, [*words, first.batch_id], catch_exceptions=False).stdout
    assert states == {"1-of-3": "running", "2-of-3": "killed"}
    assert f"{first.batch_id} 1-of-3" in shown
    assert re.search(r"^shard +1 of 3$", detail, re.MULTILINE)


def folder_of(root: Path, shard: str) -> BatchFolder:
    found = list_batches(BatchJob(options(root)).layout)
    return next(folder for folder in found if folder.read_record().shard == shard)
