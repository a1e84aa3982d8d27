"""What a worker does with a shard: pairs on disk, outcomes as data, nothing raised."""

from __future__ import annotations

import errno
import json
import os
import pickle
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.engine import Run, manifest_sides, plan_of, run, snapshot_sides, snapshot_text, text, tree

from batchpersist.locks.task_lock import TaskLock
from batchpersist.models import Durability, Shard, ShardOutcome, Side, Work
from batchpersist.options import LockPolicy, PersistOptions
from batchpersist.paths import Layout
from batchpersist.persist import worker
from batchpersist.persist.liveness import read_beats
from batchpersist.persist.worker import persist_shard
from batchpersist.plan.shard_job import make_job
from batchpersist.profiling import PHASES
from batchpersist.storage import fsync as durability_module
from batchpersist.storage.fsync import SyncGroup

RUNS = [run("a", 1), run("b", 2), run("a", 3), run("b", 4)]
PERSISTED, UNCHANGED, FAILED = Side.PERSISTED, Side.UNCHANGED, Side.FAILED


@pytest.fixture
def options(tmp_path: Path) -> PersistOptions:
    return PersistOptions(
        out_dir=str(tmp_path / "out"),
        runs_dir=str(tmp_path / "runs"),
        spool=str(tmp_path),
        lock_policy=LockPolicy(attempts=1),
    )


def persist_all(
    tmp_path: Path, runs: list[Run], options: PersistOptions, work: Work = Work.PAIR, **changed: Any
) -> ShardOutcome:
    """All runs in one shard; rows are in plan order: by task."""
    plan = plan_of(tmp_path / "source.jsonl", runs)
    job = make_job(plan.rows, Shard(0, work, 0, len(runs), plan.size))
    return persist_shard(pickle.loads(pickle.dumps(job)), PersistOptions(**{**vars(options), **changed}))


EXPECTED = {
    "out/a/runs.json": snapshot_text("a", [RUNS[0], RUNS[2]]),
    "out/b/runs.json": snapshot_text("b", [RUNS[1], RUNS[3]]),
    **{f"runs/{item['taskId']}/{item['runId']}/manifest.json": text(item) for item in RUNS},
}


def written(tmp_path: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree(tmp_path).items() if name != "source.jsonl"}


@pytest.mark.parametrize("commit", ["task", "run"])
@pytest.mark.parametrize("pair", ["concurrent", "sequential"])
@pytest.mark.parametrize("durability", list(Durability))
def test_each_commit_pair_and_durability_gives_the_same_files(
    tmp_path: Path, options: PersistOptions, commit: str, pair: str, durability: Durability
) -> None:
    how = {"commit": commit, "pair": pair, "durability": durability}
    outcome = persist_all(tmp_path, RUNS, options, **how)
    assert written(tmp_path) == EXPECTED
    assert snapshot_sides(outcome) == manifest_sides(outcome) == [PERSISTED] * 4
    assert outcome.snapshot_failures == outcome.manifest_failures == {}
    assert list(outcome.manifest_bytes) == [len(text(item)) for item in (RUNS[0], RUNS[2], RUNS[1], RUNS[3])]

    again = persist_all(tmp_path, RUNS, options, **how)
    assert snapshot_sides(again) == manifest_sides(again) == [UNCHANGED] * 4
    assert sum(again.manifest_bytes) == sum(commit.size for commit in again.commits) == 0
    assert written(tmp_path) == EXPECTED


def test_a_worker_that_returns_a_shard_is_idle(
    tmp_path: Path, options: PersistOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes it for one that hangs."""

    def run_out_of_memory(*_args: object) -> None:
        assert list(read_beats(str(tmp_path), [os.getpid()]))
        raise MemoryError

    monkeypatch.setattr(worker.SnapshotSide, "stage", run_out_of_memory)
    plan = plan_of(tmp_path / "runs.jsonl", RUNS)
    with pytest.raises(MemoryError):
        persist_shard(make_job(plan.rows, plan.shards[0]), replace(options, beats=str(tmp_path)))
    assert not list(read_beats(str(tmp_path), [os.getpid()]))


def test_force_writes_unchanged_runs_again(tmp_path: Path, options: PersistOptions) -> None:
    persist_all(tmp_path, RUNS, options)
    before = {name: (tmp_path / name).stat().st_ino for name in EXPECTED}
    outcome = persist_all(tmp_path, RUNS, options, force=True)
    assert snapshot_sides(outcome) == manifest_sides(outcome) == [PERSISTED] * 4
    assert all((tmp_path / name).stat().st_ino != inode for name, inode in before.items())
    assert written(tmp_path) == EXPECTED


@pytest.mark.parametrize("work", [Work.SNAPSHOT, Work.MANIFEST])
def test_a_shard_of_a_split_task_writes_one_side_only(
    tmp_path: Path, options: PersistOptions, work: Work
) -> None:
    outcome = persist_all(tmp_path, RUNS, options, work)
    sides = {Work.SNAPSHOT: snapshot_sides(outcome), Work.MANIFEST: manifest_sides(outcome)}
    assert sides.pop(work) == [PERSISTED] * 4
    assert sides.popitem()[1] == [Side.NOT_ATTEMPTED] * 4
    folder = "out/" if work is Work.SNAPSHOT else "runs/"
    assert written(tmp_path) == {name: data for name, data in EXPECTED.items() if name.startswith(folder)}


def test_each_task_has_one_commit_with_its_figures(tmp_path: Path, options: PersistOptions) -> None:
    outcome = persist_all(tmp_path, RUNS, options)
    found = {commit.task_id: (commit.runs, commit.side, commit.size) for commit in outcome.commits}
    sizes = {task: len(EXPECTED[f"out/{task}/runs.json"]) for task in "ab"}
    assert found == {task: (2, PERSISTED, sizes[task]) for task in "ab"}
    for seconds in (outcome.snapshot_seconds, outcome.manifest_seconds, outcome.pair_seconds):
        assert all(value > 0 for value in seconds)
    assert outcome.sum_if_sequential > 0
    assert outcome.finished >= outcome.started > 0
    assert outcome.pid > 0


@pytest.mark.parametrize("commit", ["task", "run"])
@pytest.mark.parametrize("durability", list(Durability))
def test_every_sync_is_counted(
    tmp_path: Path, options: PersistOptions, monkeypatch: pytest.MonkeyPatch, commit: str, durability: str
) -> None:
    made: list[int] = []
    fsync, syncfs = os.fsync, durability_module.syncfs
    monkeypatch.setattr(os, "fsync", lambda fd: (made.append(fd), fsync(fd))[1])
    monkeypatch.setattr(durability_module, "syncfs", lambda fd, name: (made.append(fd), syncfs(fd, name))[1])
    outcome = persist_all(tmp_path, RUNS * 5, options, commit=commit, durability=durability)
    assert outcome.syncs == len(made)
    assert bool(made) is (durability is not Durability.NONE)


def test_each_phase_is_counted_by_itself(tmp_path: Path, options: PersistOptions) -> None:
    begun = time.perf_counter()
    outcome = persist_all(tmp_path, RUNS, options, durability=Durability.FILE)
    seconds = time.perf_counter() - begun
    assert set(outcome.phases) == set(PHASES)
    assert all(value > 0 for value in outcome.phases.values())
    assert sum(outcome.phases.values()) < 2 * seconds  # of the two threads of a pair


@pytest.mark.parametrize("pair", ["concurrent", "sequential"])
def test_waiting_for_a_lock_is_a_phase(tmp_path: Path, options: PersistOptions, pair: str) -> None:
    lock = LockPolicy(attempts=2, first_delay_seconds=0.3)
    with TaskLock(Layout(options.out_dir, options.runs_dir), "a"):
        outcome = persist_all(tmp_path, RUNS[:1], options, lock_policy=lock, pair=pair)
    assert snapshot_sides(outcome) == [Side.LOCKED]
    assert outcome.phases["lock_wait"] >= 0.3


def test_commit_run_commits_each_run(tmp_path: Path, options: PersistOptions) -> None:
    outcome = persist_all(tmp_path, RUNS, options, commit="run")
    assert [(commit.task_id, commit.runs) for commit in outcome.commits] == [
        ("a", 1),
        ("a", 1),
        ("b", 1),
        ("b", 1),
    ]


@pytest.mark.parametrize("commit", ["task", "run"])
def test_the_later_of_two_equal_runs_wins_and_has_the_manifest(
    tmp_path: Path, options: PersistOptions, commit: str
) -> None:
    runs = [run("a", 1, build="old"), run("a", 2), run("a", 1, build="new")]
    outcome = persist_all(tmp_path, runs, options, commit=commit)
    assert written(tmp_path) == {
        "out/a/runs.json": snapshot_text("a", [runs[2], runs[1]]),
        "runs/a/run-1/manifest.json": text(runs[2]),
        "runs/a/run-2/manifest.json": text(runs[1]),
    }
    assert manifest_sides(outcome) == [Side.NOT_ATTEMPTED, PERSISTED, PERSISTED]


def test_a_snapshot_that_cannot_be_read_fails_alone_and_is_left_as_it_is(
    tmp_path: Path, options: PersistOptions
) -> None:
    (tmp_path / "out/a").mkdir(parents=True)
    (tmp_path / "out/a/runs.json").write_bytes(b"{torn")
    outcome = persist_all(tmp_path, RUNS, options)
    assert snapshot_sides(outcome) == [FAILED, FAILED, PERSISTED, PERSISTED]
    assert manifest_sides(outcome) == [PERSISTED] * 4
    assert outcome.snapshot_failures.keys() == {0, 1}
    assert outcome.snapshot_failures[0].type == "NotASnapshotError"
    assert written(tmp_path) == EXPECTED | {"out/a/runs.json": b"{torn"}


def test_a_locked_task_skips_its_snapshot_only(tmp_path: Path, options: PersistOptions) -> None:
    (tmp_path / "runs").mkdir()
    owner = {
        "schema_version": 1,
        "kind": "codex-lock-owner",
        "token": "t",
        "task_id": "a",
        "pid": 1,
        "host": "another",
        "acquired_at": "2026-01-01T00:00:00.000Z",
        "stale_ms": 300000,
    }
    (tmp_path / "runs/a.lock").write_text(json.dumps(owner))
    outcome = persist_all(tmp_path, RUNS, options)
    assert snapshot_sides(outcome) == [Side.LOCKED, Side.LOCKED, PERSISTED, PERSISTED]
    assert manifest_sides(outcome) == [PERSISTED] * 4
    assert outcome.snapshot_failures[1].type == "TaskStateLockError"
    assert not (tmp_path / "out/a/runs.json").exists()


def test_locked_tasks_are_waited_for_together_and_the_free_ones_not_at_all(
    tmp_path: Path, options: PersistOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    for task in "ac":
        owner = {"schema_version": 1, "kind": "codex-lock-owner", "token": "t", "pid": 1, "host": "another"}
        (tmp_path / f"runs/{task}.lock").write_text(json.dumps(owner))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert (tmp_path / "out/b/runs.json").exists(), "it was free"
        if len(slept) == 2:
            (tmp_path / "runs/c.lock").unlink()

    monkeypatch.setattr("batchpersist.persist.snapshots.time.sleep", sleep)
    runs = [run("a", 1), run("b", 2), run("c", 3)]
    outcome = persist_all(tmp_path, runs, options, lock_policy=LockPolicy())
    assert snapshot_sides(outcome) == [Side.LOCKED, PERSISTED, PERSISTED]
    assert slept == [0.1, 0.2, 0.4, 0.8]


def test_a_manifest_that_cannot_be_written_fails_alone(tmp_path: Path, options: PersistOptions) -> None:
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "runs/a/run-1").write_text("a file where a folder should be")
    outcome = persist_all(tmp_path, RUNS, options)
    assert manifest_sides(outcome) == [FAILED, PERSISTED, PERSISTED, PERSISTED]
    assert snapshot_sides(outcome) == [PERSISTED] * 4
    assert outcome.manifest_failures[0].message == "[EEXIST] File exists"


def test_a_source_that_changed_since_the_scan_fails_both_sides_of_its_runs_only(
    tmp_path: Path, options: PersistOptions
) -> None:
    source = tmp_path / "source.jsonl"
    plan = plan_of(source, RUNS)
    source.write_bytes(source.read_bytes().replace(b'"run-1"', b'"run-9"'))
    outcome = persist_shard(make_job(plan.rows, Shard(0, Work.PAIR, 0, 4, 0)), options)
    assert snapshot_sides(outcome) == manifest_sides(outcome) == [FAILED, PERSISTED, PERSISTED, PERSISTED]
    assert outcome.snapshot_failures[0] == outcome.manifest_failures[0]
    assert outcome.snapshot_failures[0].type == "SourceChangedError"
    assert "out/a/runs.json" in written(tmp_path)
    assert "runs/a/run-1/manifest.json" not in written(tmp_path)


def test_a_source_that_was_cut_or_removed_is_an_outcome_too(tmp_path: Path, options: PersistOptions) -> None:
    source = tmp_path / "source.jsonl"
    plan = plan_of(source, RUNS)
    job = make_job(plan.rows, Shard(0, Work.PAIR, 0, 4, 0))
    source.write_bytes(source.read_bytes()[:-5])
    cut = persist_shard(job, options)
    assert manifest_sides(cut) == [PERSISTED, PERSISTED, PERSISTED, FAILED]
    assert cut.manifest_failures[3].message == "the source became shorter after it was scanned"
    source.unlink()
    gone = persist_shard(job, options)
    assert {failure.message for failure in gone.manifest_failures.values()} == {
        "[ENOENT] No such file or directory"
    }
    assert len(gone.manifest_failures) == 4


class BrokenSync(SyncGroup):
    """A disk that reports an error at one of the two barriers."""

    def __init__(self, barrier: str) -> None:
        self._barrier = barrier

    def sync_data(self) -> None:
        self._fail("data")

    def sync_names(self) -> None:
        self._fail("names")

    def _fail(self, barrier: str) -> None:
        if barrier == self._barrier:
            raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("barrier", ["data", "names"])
def test_a_group_whose_sync_failed_has_failed(
    tmp_path: Path, options: PersistOptions, barrier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "open_group", lambda *_args, **_kw: BrokenSync(barrier))
    outcome = persist_all(tmp_path, RUNS, options)
    assert snapshot_sides(outcome) == manifest_sides(outcome) == [FAILED] * 4
    failures = [*outcome.snapshot_failures.values(), *outcome.manifest_failures.values()]
    assert {failure.message for failure in failures} == {"[EIO] Input/output error"}
    assert [(commit.side, commit.size) for commit in outcome.commits] == [(FAILED, 0), (FAILED, 0)]
    assert sum(outcome.manifest_bytes) == 0
    assert written(tmp_path) == ({} if barrier == "data" else EXPECTED), "and no temporary is left behind"


def test_a_defect_in_one_side_fails_what_it_had_left_and_spares_the_other(
    tmp_path: Path, options: PersistOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(worker.ManifestSide, "stage", broken)
    outcome = persist_all(tmp_path, RUNS, options)
    assert manifest_sides(outcome) == [FAILED] * 4
    assert outcome.manifest_failures[0].type == "ZeroDivisionError"
    assert snapshot_sides(outcome) == [PERSISTED] * 4
