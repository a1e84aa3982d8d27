"""A batch that was interrupted is continued by the same command, after real kills too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from support.engine import run, tree

from batchpersist.arrow_tables import read_parquet
from batchpersist.batch.run import run_batch
from batchpersist.batch.status import batch_statuses
from batchpersist.batch_job import BatchJob
from batchpersist.cli.summary import summary_lines
from batchpersist.errors import BatchMissingError
from batchpersist.events import BatchResumed, Event, Progress
from batchpersist.metrics.build import stable
from batchpersist.metrics.outcome_table import read_outcomes
from batchpersist.metrics.schema import read_metrics
from batchpersist.models import Durability, Failure
from batchpersist.options import BatchOptions, FailurePolicy, Selection
from batchpersist.paths import Layout
from batchpersist.records.batch_folder import BatchFolder, find_batch, list_batches
from batchpersist.records.journal import QuarantineEntry, ShardEntry, encode_entry, read_journal

RUNS = [run(f"task-{n % 40:02d}", n, notes="x" * 300) for n in range(1200)]
WATCHED = FailurePolicy(limit=100, percent=True)  # makes for many small shards


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in RUNS))
    return path


def options(root: Path, **more: Any) -> BatchOptions:
    more = {"failure_policy": WATCHED, **more}
    return BatchOptions(out_dir=str(root / "out"), runs_dir=str(root / "runs"), **more)


def latest(root: Path) -> BatchFolder:
    return find_batch(Layout(str(root / "out"), str(root / "runs")))


def stopped_after(shards: int) -> Callable[[], bool]:
    """A ``stop`` that lets so many shards begin."""
    calls = iter(range(10**9))
    return lambda: next(calls) > shards


def journaled(folder: BatchFolder) -> set[tuple[str, str]]:
    """The runs of which the journal has both sides."""
    sides: dict[tuple[str, str], set[str]] = {}
    for entry in read_journal(folder.journal):
        assert isinstance(entry, ShardEntry)
        for task in entry.tasks:
            for found in task.runs:
                stand = sides.setdefault((task.task_id, found.run_id), set())
                stand |= {name for name in ("snapshot", "manifest") if getattr(found, name) in (1, 2)}
    return {key for key, stand in sides.items() if len(stand) == 2}


def interrupt(root: Path, source: Path, **more: Any) -> BatchFolder:
    """A batch that was told to stop after some shards; one without a cache, as after a kill."""
    report = run_batch([str(source)], options(root, **more), should_stop=stopped_after(4))
    assert report.state == "interrupted"
    (root / "runs/.batchpersist/cache/cache.arrows").unlink(missing_ok=True)
    return latest(root)


def go_on(root: Path, source: Path, **more: Any) -> tuple[Any, list[Event]]:
    seen: list[Event] = []
    return run_batch([str(source)], options(root, **more), on_event=seen.append), seen


KILLED = """
import os, signal
from batchpersist.cli.main import cli
from batchpersist.records.journal import Journal
lines, append = [], Journal.append
def append_or_die(journal, line):
    append(journal, line)
    lines.append(line)
    if len(lines) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
Journal.append = append_or_die
if __name__ == "__main__":
    cli()
"""
"""A batch that is killed between two shards."""


@pytest.mark.parametrize(
    "words", [("-j", "1"), ("-j", "2", "--pool-threshold", "0"), ("--commit", "run", "-j", "1")]
)
def test_killed_batch_is_resumed_without_writing_persisted_runs_again(
    tmp_path: Path, source: Path, words: tuple[str, ...]
) -> None:
    run_batch([str(source)], options(tmp_path / "other"))
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "killed.py").write_text(KILLED)
    words = ("run", "../runs.jsonl", "--max-failures", "100%", *words)
    killed = subprocess.run(
        [sys.executable, "../killed.py", *words], cwd=root, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (path,) = root.glob(".runs/.batchpersist/batches/*/journal.jsonl")
    command = [sys.executable, "-m", "batchpersist", *words]
    folder = BatchFolder(str(path.parent))
    assert folder.read_record().state == "running"
    settled = journaled(folder)
    assert 0 < len(settled) < len(RUNS)
    manifests = {key: tmp_path / "root/.runs" / key[0] / key[1] / "manifest.json" for key in settled}
    before = {key: manifest.stat().st_ino for key, manifest in manifests.items()}
    second = subprocess.run(command, cwd=tmp_path / "root", capture_output=True, text=True, check=True)
    assert f"Continuing batch {folder.batch_id}: {len(settled):,} of its 1,200 runs" in second.stderr
    assert {key: manifest.stat().st_ino for key, manifest in manifests.items()} == before
    assert tree(tmp_path / "root/.runs") == tree(tmp_path / "other/runs")
    written = tree(tmp_path / "root/out")
    metrics = json.loads(written.pop("metrics.json"))
    assert written == {
        name: text for name, text in tree(tmp_path / "other/out").items() if name != "metrics.json"
    }
    assert (metrics["parts"], metrics["batch_id"]) == (2, folder.batch_id)
    assert metrics["counts"]["resumed"] == len(settled)
    # What had been written, but not journaled yet, is found as it should be.
    assert metrics["counts"]["persisted"] + metrics["counts"]["unchanged"] == len(RUNS)
    assert metrics["counts"]["persisted"] >= len(settled)
    assert folder.read_record().state == "finished"


def test_resumed_runs_do_not_count_for_the_rate(tmp_path: Path, source: Path) -> None:
    folder = interrupt(tmp_path, source)
    first = read_metrics(folder.metrics)
    settled = first.counts.both_ok
    assert 0 < settled < len(RUNS)
    assert f"{settled:,} of {len(RUNS):,} runs of " in "\n".join(summary_lines(first, ""))
    report, seen = go_on(tmp_path, source)
    done = len(RUNS) - settled
    timing = report.metrics.timing
    assert timing.runs_per_second == pytest.approx(done / timing.wall_seconds, rel=1e-3)
    assert f"{done:,} of {len(RUNS):,} runs of " in "\n".join(summary_lines(report.metrics, ""))
    *_, last = [event for event in seen if isinstance(event, Progress) and event.phase == "settle"]
    assert (last.done, last.resumed) == (len(RUNS), settled)
    [told] = [status for status in batch_statuses(BatchJob(options(tmp_path)).layout) if status.result]
    assert told.result is not None
    assert told.result.counts.resumed == settled


def test_resumed_batch_reports_what_an_undisturbed_one_does(tmp_path: Path, source: Path) -> None:
    whole = run_batch([str(source)], options(tmp_path / "whole"))
    folder = interrupt(tmp_path / "cut", source)
    settled = journaled(folder)
    report, seen = go_on(tmp_path / "cut", source, workers=2, pool_runs=0)
    assert [event for event in seen if isinstance(event, BatchResumed)] == [
        BatchResumed(folder.batch_id, len(settled), len(RUNS))
    ]
    counts = report.metrics.counts
    assert counts.resumed == len(settled) > 0
    assert counts == replace(whole.metrics.counts, resumed=counts.resumed)
    assert stable(report.metrics.tasks) == stable(whole.metrics.tasks)
    assert report.outcomes["status"].to_pylist() == whole.outcomes["status"].to_pylist()


def test_a_part_that_was_killed_while_it_began_is_gone_on_with(tmp_path: Path, source: Path) -> None:
    """Its folder for what is needed while it runs is there, and the record still says interrupted."""
    os.makedirs(interrupt(tmp_path, source).beats)
    report, _ = go_on(tmp_path, source)
    assert report.state == "finished"


def test_resumed_batch_compares_files_that_changed_meanwhile(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "root"
    folder = interrupt(root, source)
    (deleted, changed, torn, *_), task = sorted(journaled(folder)), sorted(journaled(folder))[-1][0]
    manifest = {key: root / "runs" / key[0] / key[1] / "manifest.json" for key in (deleted, torn)}
    manifest[deleted].unlink()
    manifest[torn].write_bytes(b"{}")
    (root / "out" / task / "runs.json").unlink()
    runs = [{**item, "notes": "new"} if (item["taskId"], item["runId"]) == changed else item for item in RUNS]
    source.write_text("".join(json.dumps(item) + "\n" for item in reversed(runs)))
    go_on(root, source)
    run_batch([str(source)], options(tmp_path / "other"))
    assert tree(root / "runs") == tree(tmp_path / "other/runs")
    assert {n: t for n, t in tree(root / "out").items() if n != "metrics.json"} == {
        n: t for n, t in tree(tmp_path / "other/out").items() if n != "metrics.json"
    }


def test_a_journal_is_not_believed_about_files(tmp_path: Path, source: Path) -> None:
    """Nor does the cache say of them what the part that wrote them saw."""
    root = tmp_path / "root"
    settled = sorted(journaled(interrupt(root, source)))
    files = [root / "runs" / task / number / "manifest.json" for task, number in settled]
    whole = {path: path.read_bytes() for path in files}
    for path in files:
        path.write_bytes(b"{" + path.read_bytes()[1:-1] + b"x")
    report, _ = go_on(root, source)
    assert {path: path.read_bytes() for path in files} == whole
    assert report.metrics.counts.persisted == len(RUNS)


def test_a_batch_of_another_format_is_not_continued(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "root"
    folder = interrupt(root, source)
    record = json.loads(Path(folder.record).read_text())
    Path(folder.record).write_text(json.dumps(record | {"schema_version": 1}))
    report = run_batch([str(source)], options(root))
    assert (report.metrics.parts, report.metrics.counts.resumed) == (1, 0)


def test_other_work_or_no_resume_is_a_new_batch(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "root"
    first = interrupt(root, source).batch_id
    other = run_batch([str(source)], options(root, selection=Selection(tasks=("task-00",))))
    assert other.metrics.parts == 1
    assert other.metrics.batch_id != first
    again = run_batch([str(source)], options(root, resume=False))
    assert again.metrics.parts == 1
    assert again.metrics.batch_id != first
    # The same work has finished since: there is nothing to continue.
    assert run_batch([str(source)], options(root)).metrics.parts == 1


def test_a_batch_of_which_runs_failed_is_finished(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "root"
    (root / "out/task-00").mkdir(parents=True)
    (root / "out/task-00/runs.json").write_bytes(b"{")
    assert run_batch([str(source)], options(root)).exit_code == 3
    assert run_batch([str(source)], options(root)).metrics.parts == 1


def test_third_part_resumes_both_earlier_ones(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "root"
    interrupt(root, source)
    report = run_batch([str(source)], options(root), should_stop=stopped_after(8))
    assert (report.state, report.metrics.parts) == ("interrupted", 2)
    settled = journaled(latest(root))
    final, _ = go_on(root, source)
    assert (final.metrics.parts, final.metrics.counts.resumed) == (3, len(settled))
    assert final.metrics.counts.persisted == len(RUNS)


def test_forced_runs_are_written_again(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "root"
    task, number = sorted(journaled(interrupt(root, source)))[0]
    manifest = root / "runs" / task / number / "manifest.json"
    before = manifest.stat().st_ino
    report, _ = go_on(root, source, force=True)
    assert manifest.stat().st_ino != before
    assert report.metrics.counts.resumed == 0


def test_a_run_in_quarantine_is_not_tried_again_until_a_new_batch_begins(
    tmp_path: Path, source: Path
) -> None:
    root = tmp_path / "root"
    folder = interrupt(root, source)
    entry = QuarantineEntry(
        "task-39", "run-39", RUNS[39]["timestamp"], Failure("WorkerDiedError", "worker died", "")
    )
    with open(folder.journal, "ab") as journal:
        journal.write(encode_entry(entry) + b"\n")
    report, _ = go_on(root, source)
    counts = report.metrics.counts
    assert (counts.failed, counts.both_failed, counts.persisted) == (1, 1, len(RUNS) - 1)
    assert {error.message for error in report.metrics.errors} == {"worker died"}
    assert not (root / "runs/task-39/run-39").exists()
    assert run_batch([str(source)], options(root)).exit_code == 0  # the batch had come to its end


def test_another_version_of_a_run_in_quarantine_is_not(tmp_path: Path, source: Path) -> None:
    """The older one killed its worker; the newer one, which counts, did not."""
    older = RUNS[39] | {"timestamp": "2025-12-31T00:00:00.000Z"}
    source.write_text(json.dumps(older) + "\n" + source.read_text())
    root = tmp_path / "root"
    folder = interrupt(root, source)
    died = Failure("WorkerDiedError", "worker died", "")
    entry = QuarantineEntry("task-39", "run-39", older["timestamp"], died)
    with open(folder.journal, "ab") as journal:
        journal.write(encode_entry(entry) + b"\n")
    report, _ = go_on(root, source)
    counts = report.metrics.counts
    assert (counts.superseded, counts.failed, counts.persisted) == (1, 0, len(RUNS))
    snapshot = json.loads((root / "out/task-39/runs.json").read_text())
    assert [each["timestamp"] for each in snapshot["runs"] if each["runId"] == "run-39"] == [
        RUNS[39]["timestamp"]
    ]


def test_a_journal_that_is_torn_or_holds_garbage_only_saves_less(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "root"
    folder = interrupt(root, source)
    text = Path(folder.journal).read_bytes()
    entries = list(read_journal(folder.journal))
    ends = [n + 1 for n, byte in enumerate(text) if byte == 10]
    for cut in [0, 1, *(end + by for end in ends for by in (-2, -1, 0, 1)), len(text)]:
        Path(folder.journal).write_bytes(text[: min(cut, len(text))])
        whole = sum(end <= cut for end in ends)
        # A line that lacks nothing but its end is whole as well.
        assert len(list(read_journal(folder.journal))) in (whole, whole + 1)
    Path(folder.journal).write_bytes(b"\0\0\n[]\n{}\n\xff\n" + text[:-20])
    assert list(read_journal(folder.journal)) == entries[:-1]
    report, _ = go_on(root, source)
    assert report.metrics.counts.persisted + report.metrics.counts.unchanged == len(RUNS)
    assert b"\n" + text.splitlines()[-1][:-19] + b"\n{" in Path(folder.journal).read_bytes()


def test_nothing_synced_means_nothing_believed_after_another_start(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    interrupt(root, source, durability=Durability.NONE)
    monkeypatch.setattr("batchpersist.batch.session.boot_id", lambda: "another start of the machine")
    assert run_batch([str(source)], options(root)).metrics.parts == 1


def test_a_part_that_synced_nothing_ends_the_journal_with_the_boot(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However durable the later parts are: they did not write what it wrote."""
    root = tmp_path / "root"
    interrupt(root, source, durability=Durability.NONE)
    second = run_batch([str(source)], options(root), should_stop=stopped_after(8))
    assert (second.state, second.metrics.parts) == ("interrupted", 2)
    monkeypatch.setattr("batchpersist.batch.session.boot_id", lambda: "another start of the machine")
    assert run_batch([str(source)], options(root)).metrics.parts == 1


def test_record_of_a_resumed_batch_is_durable_before_its_journal(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut might leave the record of a durable part beside the journal of one that is not."""
    root = tmp_path / "root"
    folder = interrupt(root, source)
    before, synced, fsync = Path(folder.journal).stat().st_size, list[tuple[str, int]](), os.fsync

    def record(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), Path(folder.journal).stat().st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    go_on(root, source, durability=Durability.NONE)
    assert any(path.startswith(f"{folder.path}/batch.json.tmp-") and size == before for path, size in synced)
    assert (folder.path, before) in synced


def test_running_batch_is_kept_with_a_wrong_clock(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "root"
    layout = Layout(str(root / "out"), str(root / "runs"))
    run_batch([str(source)], options(root))
    (first,) = list_batches(layout)
    os.rename(first.path, os.path.join(layout.batches, "99990101T000000000Z-abcdef"))
    report = run_batch([str(source)], options(root, keep_batches=1, resume=False))
    assert report.metrics.batch_id in [folder.batch_id for folder in list_batches(layout)]


def test_durable_part_syncs_files_of_an_unsynced_part(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    settled = journaled(interrupt(root, source, durability=Durability.NONE))
    synced, fsync = set(), os.fsync

    def record(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr("batchpersist.storage.fsync.is_trusted", lambda _descriptor: False)
    report, _ = go_on(root, source)
    assert report.metrics.counts.resumed == len(settled)
    assert {str(root / "runs" / task / run / "manifest.json") for task, run in settled} <= synced
    assert {str(root / "out" / task / "runs.json") for task, _ in settled} <= synced


def test_the_last_batches_are_kept(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "root"
    ids = [run_batch([str(source)], options(root, keep_batches=2)).metrics.batch_id for _ in range(4)]
    layout = Layout(str(root / "out"), str(root / "runs"))
    assert [folder.batch_id for folder in list_batches(layout)] == ids[-2:]
    assert find_batch(layout).batch_id == find_batch(layout, ids[-1]).batch_id == ids[-1]
    for name in ("none", "2"):  # no batch, and more than one
        with pytest.raises(BatchMissingError):
            find_batch(layout, name)


def test_folder_has_all_that_a_report_needs(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "root"
    with source.open("ab") as file:
        file.write(b"no run\n")
    report = run_batch([str(source)], options(root, workers=2, pool_runs=0))
    folder = BatchFolder(report.folder)
    assert read_metrics(folder.metrics) == report.metrics
    assert read_outcomes(folder.outcomes).equals(report.outcomes)
    (reject,) = read_parquet(folder.rejects).to_pylist()
    assert (reject["source"], reject["line"], reject["type"]) == (str(source), 1201, "InvalidRunError")
    shards = read_parquet(folder.shards).to_pylist()
    assert sum(shard["runs"] for shard in shards) == len(RUNS)
    assert all(shard["pid"] != os.getpid() and shard["started"] <= shard["finished"] for shard in shards)
    record = folder.read_record()
    assert (record.state, record.exit_code, record.config["workers"]) == ("finished", 3, 2)
