"""Which batches a root has had, which of them run, which were killed; and how far a running one is."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from unittest.mock import patch

import pytest
from click.testing import CliRunner, Result
from support.engine import run

from batchpersist.batch.run import retry_batch, run_batch
from batchpersist.batch.status import BatchStatus, batch_statuses
from batchpersist.cli import status as status_command
from batchpersist.cli.main import cli
from batchpersist.events import Progress
from batchpersist.locks.batch_lock import BatchLock, holder_of
from batchpersist.options import BatchOptions, Selection
from batchpersist.paths import Layout
from batchpersist.records.batch_folder import BatchRecord, ProgressFile, find_batch, read_progress
from batchpersist.report.outcome_text import IN_THE_FUTURE

ROOT = Layout("out", ".runs")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps(run(f"task-{n % 3}", n)) for n in range(9)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, ["status", *words], catch_exceptions=False)


def states() -> list[str]:
    return [status.state for status in batch_statuses(ROOT)]


# A running batch, seen from another process

SLOW = """
import sys, time
from batchpersist.batch.run import retry_batch, run_batch
from batchpersist.events import Progress
from batchpersist.options import BatchOptions
from batchpersist.options import FailurePolicy

def watch(event):
    if isinstance(event, Progress) and event.phase == "settle":
        print("settled", flush=True)
        sys.stdin.readline()

run_batch(["many.jsonl"], BatchOptions(failure_policy=FailurePolicy(100, percent=True)), on_event=watch)
"""


@pytest.fixture
def slow(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A batch that settles a shard for each line that it is sent; one is settled already."""
    runs = [run(f"task-{n:03d}", n) for n in range(600)]
    (folder / "many.jsonl").write_text("".join(json.dumps(item) + "\n" for item in runs))
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "settled\n"
        yield process
        process.kill()


def test_a_running_batch_is_seen_as_far_as_it_is_and_its_death_as_well(
    slow: subprocess.Popen[str], folder: Path
) -> None:
    (status,) = batch_statuses(ROOT)
    assert (status.state, status.record.pid) == ("running", slow.pid)
    assert status.progress is not None
    assert (status.progress.phase, status.progress.total) == ("settle", 600)
    assert 0 < status.progress.done < 600
    result = invoke()
    assert result.exit_code == 0
    assert f"{status.record.batch_id} is running: settle {status.progress.done} of 600 runs" in result.stdout
    slow.send_signal(signal.SIGKILL)
    slow.wait()
    (status,) = batch_statuses(ROOT)
    assert (status.state, status.record.state) == ("killed", "running")
    assert "is running" not in invoke().stdout
    assert "next     The same command continues it." in invoke("latest").stdout.splitlines()
    run_batch(["many.jsonl"], BatchOptions())
    assert states() == ["finished"]


def test_dead_batch_is_not_confused_with_the_running_one(slow: subprocess.Popen[str], folder: Path) -> None:
    slow.kill()
    slow.wait()
    with BatchLock(ROOT, "batch of somebody"):
        assert states() == ["killed"]
    seen: list[list[str]] = []
    run_batch(["runs.jsonl"], BatchOptions(), on_event=lambda _event: seen.append(states()))
    assert seen[-1] == ["killed", "running"]
    assert states() == ["killed", "finished"]


def test_watching_ends_with_the_batch(slow: subprocess.Popen[str]) -> None:
    command = [sys.executable, "-m", "batchpersist", "status", "--watch", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        lines = [watcher.stdout.readline() for _ in range(5)]
        assert lines[-1].startswith("settle ")
        slow.communicate("\n" * 100)
        rest = watcher.stdout.read()
    assert watcher.returncode == 0
    last = rest.splitlines()[-1]
    assert last.startswith(f"Batch {find_batch(ROOT).batch_id}: finished, 600 runs in ")
    assert last.endswith("exit code 0.")


def test_all_that_run_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    run_batch(["runs.jsonl"], BatchOptions())
    (ended,) = batch_statuses(ROOT)
    first, second = (replace(ended, state="running", record=_named(ended, name)) for name in "ab")
    looks = iter([first, second, first, replace(second, state="finished"), replace(first, state="finished")])
    monkeypatch.setattr(status_command, "batch_statuses", lambda _layout: [ended, first, second])
    monkeypatch.setattr(status_command, "status_of", lambda _layout, _folder: next(looks))
    lines = invoke("--watch", "0.1").stdout.splitlines()
    assert [line.split(":")[0] for line in lines[6:]] == ["a", "b", "a", "Batch b", "Batch a"]


def _named(status: BatchStatus, batch_id: str) -> BatchRecord:
    record = copy.copy(status.record)
    record.batch_id = batch_id
    return record


def test_watching_is_ended_by_the_user(slow: subprocess.Popen[str]) -> None:
    command = [sys.executable, "-m", "batchpersist", "status", "--json", "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        first = json.loads(watcher.stdout.readline())
        second = json.loads(watcher.stdout.readline())
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait() == 130
        assert watcher.stderr is not None
        assert watcher.stderr.read() == ""
    assert first["batch_id"] == second["batch_id"]
    assert (first["state"], first["progress"]["phase"]) == ("running", "settle")


# Batches that ended


def test_nothing_yet() -> None:
    Path(".runs").mkdir()
    result = invoke("--watch")
    assert (result.exit_code, result.stdout) == (0, "No batch has worked on .runs yet.\n")
    assert invoke("latest").exit_code == 10
    assert os.listdir(".runs") == []


def test_status_shows_a_table_of_all_or_one_in_full() -> None:
    with Path("runs.jsonl").open("a") as file:
        file.write("no json")
    report = run_batch(["runs.jsonl"], BatchOptions())
    run_batch(["runs.jsonl"], BatchOptions(), should_stop=lambda: True)
    heading, first, second = (line.split() for line in invoke().stdout.splitlines())
    assert heading == ["batch", "state", "started", "runs", "failed", "invalid", "exit", "code"]
    assert (first[1], first[4:]) == ("finished", ["9", "0", "1", "3"])
    assert (second[1], second[4:]) == ("interrupted", ["0", "0", "0", "-"])
    details = dict(line.split(maxsplit=1) for line in invoke(first[0]).stdout.splitlines())
    assert details["state"].startswith("finished, 9 runs in ")
    assert details["state"].endswith("s, 1 invalid, exit code 3")
    assert (details["sources"], details["in"]) == ("runs.jsonl", os.getcwd())
    objects = [json.loads(line) for line in invoke("--json").stdout.splitlines()]
    assert [item["state"] for item in objects] == ["finished", "interrupted"]
    metrics = json.loads(Path(report.folder, "metrics.json").read_bytes())
    assert objects[0]["result"] == {name: metrics[name] for name in ("counts", "timing")}


def test_status_shows_a_retry_as_text_and_as_json() -> None:
    Path("out/mail").mkdir(parents=True)
    Path("out/mail/runs.json").write_text("broken")
    Path("runs.jsonl").write_text(json.dumps(run("mail", 1)))
    first = run_batch(["runs.jsonl"], BatchOptions())
    retry_batch()
    retry_of = {"batch_id": first.metrics.batch_id, "only": ["failed", "locked"]}
    _, record = [json.loads(line) for line in invoke("--json").stdout.splitlines()]
    assert record["retry_of"] == retry_of
    assert not [name for name in record if " " in name]
    assert f"retry of {retry_of['batch_id']} (failed, locked)" in invoke("latest").stdout.splitlines()


def test_a_source_whose_name_is_no_text_hides_no_result() -> None:
    name = os.fsdecode(b"n\xff.jsonl")
    Path(name).write_text(json.dumps(run("mail", 1)))
    run_batch([name], BatchOptions())
    assert "finished, 1 run in " in invoke("latest").stdout


def test_a_batch_that_ended_leaves_no_news() -> None:
    seen: list[BatchStatus] = []
    run_batch(["runs.jsonl"], BatchOptions(), on_event=lambda _event: seen.extend(batch_statuses(ROOT)))
    assert any(status.progress is not None for status in seen)
    assert not Path(find_batch(ROOT).progress).exists()


def test_a_record_that_cannot_be_read_hides_no_other() -> None:
    run_batch(["runs.jsonl"], BatchOptions())
    (Path(ROOT.batches) / "2020").mkdir()
    (Path(ROOT.batches) / "2020" / "batch.json").write_text("{}")
    assert states() == ["finished"]
    assert invoke("2020").exit_code == 10


# The glance at the lock, and the file


def test_a_glance_at_the_lock_keeps_no_batch_from_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    with BatchLock(ROOT, "first"):
        assert str(holder_of(ROOT)).startswith(f"first ({os.getpid()}@")
    assert holder_of(ROOT) is None
    descriptor = os.open(ROOT.batch_lock, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # as holder_of does, for an instant
    assert holder_of(ROOT) is None, "one that looks does not disturb another"
    monkeypatch.setattr(time, "sleep", lambda _seconds: fcntl.flock(descriptor, fcntl.LOCK_UN))
    with BatchLock(ROOT, "second"):
        assert str(holder_of(ROOT)).startswith("second (")
    os.close(descriptor)


def test_news_are_written_once_a_second_and_for_each_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    monkeypatch.setattr(time, "time", lambda: moment[0])
    path = str(tmp_path / "progress.json")
    news = ProgressFile(path)
    seen = []
    for phase, done in (("scan", 1), ("scan", 2), ("settle", 0), ("settle", 10), ("settle", 20)):
        moment[0] += 0.6
        news.write(Progress(phase, done, 100, 0))  # type: ignore[arg-type]
        record = read_progress(path)
        assert record is not None
        seen.append((record.phase, record.done))
    assert seen == [("scan", 1), ("scan", 1), ("settle", 0), ("settle", 0), ("settle", 20)]
    assert record is not None
    assert record.runs_per_second == pytest.approx(20 / 1.8)
    assert record.seconds_left == pytest.approx(80 / (20 / 1.8))


def test_resumed_runs_count_for_no_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [1000.0]
    monkeypatch.setattr(time, "time", lambda: moment[0])
    news = ProgressFile(str(tmp_path / "progress.json"))
    moment[0] += 2.0
    news.write(Progress("settle", 60, 100, 0, resumed=40))
    record = read_progress(str(tmp_path / "progress.json"))
    assert record is not None
    assert (record.runs_per_second, record.seconds_left) == (10.0, 4.0)


def test_news_that_cannot_be_written_stop_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    news = ProgressFile(str(tmp_path / "file" / "progress.json"))
    (tmp_path / "file").touch()
    news.write(Progress("scan", 1, None, 0))
    news.write(Progress("settle", 1, None, 0))
    assert len(caplog.records) == 1


# A batch that ran by a wrong clock


@pytest.fixture
def dated_2099(folder: Path) -> str:
    """The id of a batch that was started in 2099, by its machine's clock; then four more ran."""
    with patch("batchpersist.batch.session.datetime", wraps=datetime) as clock:
        clock.now.return_value = datetime(2099, 1, 1, tzinfo=timezone.utc)
        ahead = run_batch(["runs.jsonl"], BatchOptions())
    return str(ahead.metrics.batch_id)


def test_latest_is_the_batch_that_ended_last_despite_a_wrong_clock(dated_2099: str) -> None:
    last = run_batch(["runs.jsonl"], BatchOptions()).metrics.batch_id
    assert dated_2099 > last
    assert find_batch(ROOT).batch_id == last
    assert [status.record.batch_id for status in batch_statuses(ROOT)] == [dated_2099, last]
    assert invoke("latest").stdout.splitlines()[0].split() == ["batch", last]
    report = CliRunner().invoke(cli, ["report"], catch_exceptions=False)
    assert report.stdout.startswith(f"Batch {last}")


def test_a_batch_by_a_wrong_clock_is_pruned_in_its_turn(dated_2099: str) -> None:
    ids = [run_batch(["runs.jsonl"], BatchOptions(keep_batches=2)).metrics.batch_id for _ in range(3)]
    assert [status.record.batch_id for status in batch_statuses(ROOT)] == ids[-2:]


def test_a_start_in_the_future_is_reported(dated_2099: str) -> None:
    assert f"{dated_2099}: {IN_THE_FUTURE}" in invoke().stdout.splitlines()
    assert IN_THE_FUTURE in invoke(dated_2099).stdout
    assert json.loads(invoke("--json").stdout.splitlines()[0])["starts_in_the_future"] is True
    assert IN_THE_FUTURE in CliRunner().invoke(cli, ["report"], catch_exceptions=False).stdout
    run_batch(["runs.jsonl"], BatchOptions(keep_batches=1))
    assert IN_THE_FUTURE not in invoke().stdout + invoke("latest").stdout


def test_a_batch_that_is_continued_becomes_the_latest(folder: Path) -> None:
    stopped = run_batch(["runs.jsonl"], BatchOptions(), should_stop=lambda: True).metrics.batch_id
    other = run_batch(["runs.jsonl"], BatchOptions(selection=Selection(limit=1))).metrics.batch_id
    assert find_batch(ROOT).batch_id == other
    assert run_batch(["runs.jsonl"], BatchOptions()).metrics.batch_id == stopped
    assert find_batch(ROOT).batch_id == stopped
