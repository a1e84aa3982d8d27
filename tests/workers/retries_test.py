"""A run that fails for a reason that may pass is retried at the end of a batch, and counted once."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.engine import run, tree

from batchpersist.batch.run import run_batch
from batchpersist.events import Event, Progress, RunFailed
from batchpersist.locks.task_lock import TaskLock
from batchpersist.models import Failure
from batchpersist.options import BatchOptions, LockPolicy, RetryPolicy
from batchpersist.paths import Layout
from batchpersist.persist import manifests, worker
from batchpersist.storage.fsync import SyncGroup
from batchpersist.workers.retries import delay_before, is_passing

RUNS = [run(f"task-{n % 4}", n) for n in range(40)]
SOON = {"first_delay_seconds": 0.0}


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in RUNS))
    return str(path)


def options(root: Path, **more: Any) -> BatchOptions:
    more = {"lock_policy": LockPolicy(attempts=1), "retry_policy": RetryPolicy(rounds=1, **SOON), **more}
    return BatchOptions(out_dir=str(root / "out"), runs_dir=str(root / "runs"), **more)


def failing(monkeypatch: pytest.MonkeyPatch, code: int, times: int, run_id: str = "run-7") -> None:
    """Let the manifest of a run fail so many times."""
    left, stage = [code] * times, manifests.stage

    def stage_or_fail(target: str, *more: Any, **named: Any) -> Any:
        if f"/{run_id}/" in target and left:
            raise OSError(left.pop(), os.strerror(code), target)
        return stage(target, *more, **named)

    monkeypatch.setattr(manifests, "stage", stage_or_fail)


@pytest.mark.parametrize("commit", ["task", "run"])
@pytest.mark.parametrize("name", ["EAGAIN", "EINTR", "EIO", "ESTALE", "ETIMEDOUT"])
def test_an_error_that_passes_fails_no_run(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch, commit: str, name: str
) -> None:
    whole = run_batch([source], options(tmp_path / "whole"))
    failing(monkeypatch, getattr(errno, name), times=1)
    seen: list[Event] = []
    report = run_batch([source], options(tmp_path / "root", commit=commit), on_event=seen.append)
    assert report.exit_code == 0
    assert report.metrics.counts == whole.metrics.counts
    assert report.metrics.bytes.manifests == whole.metrics.bytes.manifests
    assert report.metrics.timing.retried_runs == 1
    assert not [event for event in seen if isinstance(event, RunFailed)]
    assert tree(tmp_path / "root/runs") == tree(tmp_path / "whole/runs")


def test_a_run_that_fails_again_is_reported_once(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, errno.EIO, times=10)
    seen: list[Event] = []
    report = run_batch([source], options(tmp_path, retry_policy=RetryPolicy(3, 0.0)), on_event=seen.append)
    assert (report.exit_code, report.metrics.counts.manifest_failed) == (3, 1)
    assert report.metrics.counts.persisted == len(RUNS) - 1
    assert [event.run_id for event in seen if isinstance(event, RunFailed)] == ["run-7"]
    assert report.metrics.timing.retried_runs == 3


@pytest.mark.parametrize(("code", "rounds"), [(errno.EACCES, 2), (errno.ENOSPC, 2), (errno.EIO, 0)])
def test_errors_that_do_not_pass_are_not_retried(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch, code: int, rounds: int
) -> None:
    failing(monkeypatch, code, times=1)
    report = run_batch([source], options(tmp_path, retry_policy=RetryPolicy(rounds, 0.0)))
    assert (report.exit_code, report.metrics.timing.retried_runs) == (3, 0)


def test_wait_for_space_waits_for_a_full_disk(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, errno.ENOSPC, times=1)
    report = run_batch(
        [source], options(tmp_path, retry_policy=RetryPolicy(1, 0.0, wait_for_space_seconds=5.0))
    )
    assert (report.exit_code, report.metrics.timing.retried_runs) == (0, 1)


def test_wait_for_space_works_without_an_out_dir(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not exist yet when its free space is asked for."""
    mkdir, left = os.mkdir, [errno.ENOSPC] * 4

    def make_or_fail(path: Any, *more: Any, **named: Any) -> None:
        if os.fspath(path).startswith(str(tmp_path / "out")) and left:
            raise OSError(left.pop(), os.strerror(errno.ENOSPC), path)
        mkdir(path, *more, **named)

    monkeypatch.setattr(os, "mkdir", make_or_fail)
    policy = RetryPolicy(1, 0.0, wait_for_space_seconds=5.0)
    report = run_batch(
        [source], options(tmp_path, retry_policy=policy, metrics=str(tmp_path / "metrics.json"))
    )
    assert (report.exit_code, report.metrics.timing.retried_runs) == (0, len(RUNS))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_locked_task_is_retried_at_the_end(tmp_path: Path, source: str, workers: int) -> None:
    whole = run_batch([source], options(tmp_path / "whole"))
    root = tmp_path / "root"
    lock = TaskLock(Layout(str(root / "out"), str(root / "runs")), "task-2")
    os.makedirs(root / "runs")
    lock.acquire()
    freed = threading.Event()

    def watch(event: Event) -> None:
        if isinstance(event, Progress) and (event.phase, event.done) == ("settle", len(RUNS)):
            if not freed.is_set():
                lock.release()
            freed.set()

    more: dict[str, Any] = {"workers": workers, "pool_runs": 0}
    report = run_batch([source], options(root, **more), on_event=watch)
    assert freed.is_set()
    assert report.exit_code == 0
    assert report.metrics.counts == whole.metrics.counts
    assert report.metrics.timing.retried_runs >= 10
    assert tree(root / "out").keys() == tree(tmp_path / "whole/out").keys()


def test_a_failed_sync_is_not_retried(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are in their places already, and would be found unchanged."""
    open_group = worker.open_group

    @contextmanager
    def open_broken_group(*roots: Any, **more: Any) -> Iterator[SyncGroup]:
        with open_group(*roots, **more) as sync:
            monkeypatch.setattr(type(sync), "sync_names", fail)
            yield sync

    def fail(_group: SyncGroup) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "the disk")

    monkeypatch.setattr(worker, "open_group", open_broken_group)
    report = run_batch([source], options(tmp_path))
    assert report.metrics.timing.retried_runs == 0
    assert report.metrics.counts.both_failed == len(RUNS)
    assert report.exit_code == 3


def test_a_retried_run_does_not_move_behind_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's first version lies between two that are tried again, its last one behind them."""
    source = tmp_path / "runs.jsonl"
    runs = [run("task", 1), run("task", 2, notes="old"), run("task", 3), run("task", 2, notes="new")]
    source.write_text("".join(json.dumps(item) + "\n" for item in runs))
    whole = run_batch([str(source)], options(tmp_path / "whole"))
    failing(monkeypatch, errno.EIO, times=1, run_id="run-1")
    failing(monkeypatch, errno.EIO, times=1, run_id="run-3")
    report = run_batch([str(source)], options(tmp_path / "root"))
    assert report.metrics.timing.retried_runs == 2
    assert report.metrics.counts == whole.metrics.counts
    snapshot = json.loads((tmp_path / "root/out/task/runs.json").read_text())
    assert [item["notes"] for item in snapshot["runs"] if item["runId"] == "run-2"] == ["new"]


def test_a_final_failure_is_reported_once_though_its_task_is_retried(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, errno.EIO, times=1, run_id="run-3")
    failing(monkeypatch, errno.EACCES, times=10, run_id="run-7")
    failing(monkeypatch, errno.EIO, times=1, run_id="run-11")
    seen: list[Event] = []
    report = run_batch([source], options(tmp_path), on_event=seen.append)
    assert report.metrics.counts.manifest_failed == 1
    assert [event.run_id for event in seen if isinstance(event, RunFailed)] == ["run-7"]


def test_runs_that_a_stopped_round_left_are_reported(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, errno.EIO, times=1, run_id="run-4")
    failing(monkeypatch, errno.EIO, times=1, run_id="run-7")
    manifests = [tmp_path / f"runs/{name}/manifest.json" for name in ("task-0/run-4", "task-3/run-7")]
    seen: list[Event] = []
    report = run_batch(
        [source],
        options(tmp_path, retry_policy=RetryPolicy(2, 0.0)),
        on_event=seen.append,
        should_stop=lambda: any(path.exists() for path in manifests),
    )
    assert report.state == "interrupted"
    assert report.metrics.counts.manifest_failed == 1
    assert report.metrics.timing.retried_runs == 1
    reported = [event.run_id for event in seen if isinstance(event, RunFailed)]
    assert reported == [path.parent.name for path in manifests if not path.exists()]


def test_a_stopping_batch_does_not_wait_for_another_round(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, errno.EIO, times=1)
    seen: list[Event] = []
    report = run_batch(
        [source],
        options(tmp_path, retry_policy=RetryPolicy(1, first_delay_seconds=1e9, max_delay_seconds=1e9)),
        on_event=seen.append,
        should_stop=(tmp_path / "runs/task-3").exists,
    )
    assert report.state == "interrupted"  # the same command continues it
    assert report.metrics.counts.manifest_failed == 1
    assert [event.run_id for event in seen if isinstance(event, RunFailed)] == ["run-7"]


def test_delays_are_drawn_from_zero_up_to_a_bound_that_grows() -> None:
    policy = RetryPolicy(first_delay_seconds=1.0, max_delay_seconds=3.0)
    drawn: Sequence[list[float]] = [[delay_before(number, policy) for _ in range(200)] for number in range(4)]
    assert all(
        0.0 <= delay <= bound for delays, bound in zip(drawn, (1, 2, 3, 3), strict=True) for delay in delays
    )
    assert max(drawn[1]) > 1.0
    assert len(set(drawn[0])) > 100


def test_which_failures_may_pass() -> None:
    policy = RetryPolicy()
    assert is_passing(Failure("OSError", "[ESTALE] Stale file handle", ""), policy)
    assert is_passing(Failure("TaskStateLockError", "task is locked", ""), policy)
    assert not is_passing(Failure("OSError", "[EISDIR] Is a directory", ""), policy)
    assert not is_passing(Failure("WorkerDiedError", "worker died", ""), policy)
