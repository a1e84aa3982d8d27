from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from batchpersist.errors import SnapshotError, TaskStateLockError
from batchpersist.locks.task_lock import TaskLock
from batchpersist.models import Durability, Side
from batchpersist.options import CommitOptions, LockPolicy
from batchpersist.paths import Layout
from batchpersist.snapshots import commit as commit_module
from batchpersist.snapshots.base_file import Baseline
from batchpersist.snapshots.commit import ATTEMPTS, StagedSnapshot
from batchpersist.snapshots.store import TaskStateStore
from batchpersist.storage.fsync import SyncGroup


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "out"), str(tmp_path / "runs"))


@pytest.fixture(params=[True, False], ids=["short", "long"])
def merge_length(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot that is merged again under the lock, or one that is too long for that."""
    if not request.param:
        monkeypatch.setattr(commit_module, "SHORT_MERGE", 0)


def run(run_id: str, timestamp: str) -> dict[str, Any]:
    return {"taskId": "t", "runId": run_id, "timestamp": timestamp}


def store(layout: Layout, durability: Durability = Durability.NONE, **lock: Any) -> TaskStateStore:
    policy = LockPolicy(**{"attempts": 1, **lock})
    return TaskStateStore(layout.out_dir, layout.runs_dir, lock_policy=policy, durability=durability)


class Runs:
    def __init__(self, runs: Sequence[dict[str, Any]]) -> None:
        self.run_ids = [str(run["runId"]) for run in runs]
        self.timestamps = [str(run["timestamp"]) for run in runs]
        self._runs = runs

    def text(self, number: int) -> bytes:
        return json.dumps(self._runs[number], indent=2).encode()


def stage(layout: Layout, *runs: dict[str, Any], durability: Durability = Durability.NONE) -> StagedSnapshot:
    options = CommitOptions(
        out_dir=layout.out_dir,
        runs_dir=layout.runs_dir,
        lock_policy=LockPolicy(attempts=1),
        durability=durability,
    )
    return StagedSnapshot(options, "t", Runs(runs), SyncGroup())


def publish(staged: StagedSnapshot) -> None:
    try:
        staged.publish()
    finally:
        staged.discard()


def ids(layout: Layout) -> list[str]:
    found = json.loads(Path(layout.snapshot("t")).read_bytes())
    assert found["lastRunAt"] == found["runs"][-1]["timestamp"]
    return [run["runId"] for run in found["runs"]]


def names(layout: Layout) -> list[str]:
    return sorted(os.listdir(layout.task_dir("t")))


def replace_snapshot(layout: Layout, *runs: dict[str, Any]) -> None:
    """What another program does; no lock is taken."""
    rival = Path(layout.task_dir("t"), "rival")
    rival.write_text(json.dumps({"taskId": "t", "runs": runs}))
    os.rename(rival, layout.snapshot("t"))


@pytest.mark.usefixtures("merge_length")
@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("durability", [Durability.NONE, Durability.FILE])
def test_what_others_recorded_since_it_was_staged_is_kept(
    layout: Layout, existing: bool, durability: Durability
) -> None:
    if existing:
        store(layout).record_run(run("old", "1"))
    staged = stage(layout, run("mine", "2"), durability=durability)
    store(layout).record_runs([run("theirs", "3"), run("old", "4")])
    publish(staged)

    assert ids(layout) == ["mine", "theirs", "old"]
    assert staged.sides == [Side.PERSISTED]
    assert staged.size == os.path.getsize(layout.snapshot("t"))
    assert names(layout) == ["runs.json"]
    assert not os.path.exists(layout.task_lock("t"))


@pytest.mark.usefixtures("merge_length")
def test_where_others_recorded_the_same_nothing_is_left_to_do(layout: Layout) -> None:
    staged = stage(layout, run("a", "1"))
    store(layout).record_run(run("a", "1"))
    before = os.stat(layout.snapshot("t"))
    publish(staged)
    assert (staged.sides, staged.size) == ([Side.UNCHANGED], 0)
    assert os.stat(layout.snapshot("t")) == before
    assert names(layout) == ["runs.json"]


@pytest.mark.usefixtures("merge_length")
def test_a_legacy_state_that_changes_is_read_again(layout: Layout) -> None:
    os.makedirs(layout.task_dir("t"))
    staged = stage(layout, run("a", "2"))
    Path(layout.legacy_state("t")).write_text(json.dumps({"taskId": "t", "runs": [run("legacy", "1")]}))
    publish(staged)
    assert ids(layout) == ["legacy", "a"]


@pytest.mark.usefixtures("merge_length")
def test_a_snapshot_removed_before_publishing_is_written_again(layout: Layout) -> None:
    store(layout).record_run(run("old", "1"))
    staged = stage(layout, run("a", "2"))
    os.unlink(layout.snapshot("t"))
    publish(staged)
    assert ids(layout) == ["a"]


@pytest.mark.usefixtures("merge_length")
def test_a_snapshot_that_is_damaged_by_then_is_left_as_it_is(layout: Layout) -> None:
    store(layout).record_run(run("old", "1"))
    staged = stage(layout, run("a", "2"))
    Path(layout.snapshot("t")).write_bytes(b"{")
    with pytest.raises(SnapshotError):
        publish(staged)
    assert Path(layout.snapshot("t")).read_bytes() == b"{"
    assert names(layout) == ["runs.json"]
    assert not os.path.exists(layout.task_lock("t"))


@pytest.mark.parametrize("overtaken", [True, False])
def test_after_a_lost_lock_the_commit_is_tried_again_and_keeps_both_updates(
    layout: Layout, merge_length: None, overtaken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published orchestrator may clear the lock that took a stale one's place, and write then."""
    publish(stage(layout, run("old", "2026-01-01")))
    staged = stage(layout, run("mine", "2026-01-02"))
    rename = StagedSnapshot._rename

    def rename_while_the_lock_is_lost(self: StagedSnapshot) -> Any:
        before = json.loads(Path(layout.snapshot("t")).read_bytes())
        version = rename(self)
        monkeypatch.setattr(StagedSnapshot, "_rename", rename)
        os.unlink(layout.task_lock("t"))
        if overtaken:
            before["runs"].append(run("theirs", "2026-01-03"))
            before["lastRunAt"] = "2026-01-03"
            Path(layout.snapshot("t")).write_text(json.dumps(before, indent=2))
        return version

    monkeypatch.setattr(StagedSnapshot, "_rename", rename_while_the_lock_is_lost)
    with pytest.raises(TaskStateLockError, match="lost while held"):
        staged.publish(LockPolicy(attempts=1))
    staged.publish(LockPolicy(attempts=1))
    staged.discard()
    assert ids(layout) == (["old", "mine", "theirs"] if overtaken else ["old", "mine"])
    assert staged.sides == [Side.PERSISTED if overtaken else Side.UNCHANGED]
    assert names(layout) == ["runs.json"]


def test_a_link_planted_meanwhile_is_not_followed(layout: Layout, tmp_path: Path) -> None:
    staged = stage(layout, run("a", "2"))
    (tmp_path / "elsewhere").write_bytes(b"untouched")
    os.symlink(tmp_path / "elsewhere", layout.snapshot("t"))
    with pytest.raises(SnapshotError, match="symbolic link"):
        publish(staged)
    assert (tmp_path / "elsewhere").read_bytes() == b"untouched"


def test_a_rename_by_someone_without_the_lock_is_merged_with(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = stage(layout, run("mine", "1"))
    rename = os.replace

    def overtaken(source: str, target: str) -> None:
        rename(source, target)
        monkeypatch.setattr(os, "replace", rename)
        replace_snapshot(layout, run("naive", "2"))

    monkeypatch.setattr(os, "replace", overtaken)
    publish(staged)
    assert ids(layout) == ["mine", "naive"]
    assert names(layout) == ["runs.json"]


def test_a_snapshot_that_never_rests_is_given_up_on(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    store(layout).record_run(run("old", "1"))
    staged = stage(layout, run("a", "2"))
    looks = []
    monkeypatch.setattr(Baseline, "is_current", lambda baseline: bool(looks.append(baseline)))
    with pytest.raises(SnapshotError, match="in spite of its lock"):
        publish(staged)
    assert len(looks) == 2 * ATTEMPTS
    assert ids(layout) == ["old"]
    assert names(layout) == ["runs.json"]


def test_the_last_attempt_merges_a_long_snapshot_under_the_lock(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = []

    class OvertakenLock(TaskLock):
        def acquire(self) -> None:
            others.append(str(len(others)))
            replace_snapshot(layout, *(run(run_id, run_id) for run_id in others))
            super().acquire()

    staged = stage(layout, run("mine", "9"))
    monkeypatch.setattr(commit_module, "SHORT_MERGE", 0)
    monkeypatch.setattr(commit_module, "TaskLock", OvertakenLock)
    publish(staged)
    assert ids(layout) == [*others, "mine"]
    assert len(others) == ATTEMPTS


def canonical_history(layout: Layout, *runs: dict[str, Any]) -> None:
    """As the orchestrator writes it; no lock is taken."""
    last = runs[-1]["timestamp"]
    beside = Path(layout.task_dir("t"), "beside")
    os.makedirs(beside.parent, exist_ok=True)
    beside.write_text(json.dumps({"taskId": "t", "lastRunAt": last, "runs": runs}, indent=2))
    os.rename(beside, layout.snapshot("t"))


OLD = [run(f"old-{number:02}", f"{number:02}") for number in range(50)]


@pytest.mark.usefixtures("merge_length")
@pytest.mark.parametrize(
    "theirs",
    [
        [*OLD, run("theirs", "55")],
        [*OLD, run("theirs", "555")],  # another length of lastRunAt moves all that is behind it
        [run("theirs", "00"), *OLD],
    ],
)
def test_a_long_history_that_others_changed_is_merged_with(
    layout: Layout, theirs: list[dict[str, Any]]
) -> None:
    canonical_history(layout, *OLD)
    staged = stage(layout, run("early", "05"), run("late", "60"))
    canonical_history(layout, *theirs)
    publish(staged)
    expected = sorted([*theirs, run("early", "05"), run("late", "60")], key=lambda run: run["timestamp"])
    assert ids(layout) == [entry["runId"] for entry in expected]
    assert names(layout) == ["runs.json"]


@pytest.mark.usefixtures("merge_length")
def test_a_file_that_was_edited_in_place_is_read_again(layout: Layout) -> None:
    canonical_history(layout, *OLD)
    staged = stage(layout, run("old-10", "60"))
    path = Path(layout.snapshot("t"))
    path.write_text(path.read_text().replace("old-10", "new-10"))
    publish(staged)
    assert ids(layout) == [*(entry["runId"].replace("old-10", "new-10") for entry in OLD), "old-10"]


def test_a_second_file_that_cannot_be_written_is_gone(layout: Layout) -> None:
    canonical_history(layout, *OLD)
    staged = stage(layout, run("mine", "60"))
    canonical_history(layout, *OLD, run("theirs", "55"))

    class FailingSync(SyncGroup):
        def written(self, fd: int) -> None:
            raise OSError(5, "Input/output error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commit_module, "open_group", lambda *_args, **_options: FailingSync())
        with pytest.raises(OSError, match="Input/output error"):
            publish(staged)
    assert names(layout) == ["runs.json"]
    assert "mine" not in ids(layout)


def test_a_merge_of_its_own_is_synced_as_well(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class NotedSyncs(SyncGroup):
        def written(self, fd: int) -> None:
            calls.append("written")

        def sync_data(self) -> None:
            calls.append("sync_data")

        def renamed(self, target: str) -> None:
            assert os.path.exists(layout.task_lock("t"))
            calls.append("renamed")

        def sync_names(self) -> None:
            assert not os.path.exists(layout.task_lock("t"))
            calls.append("sync_names")

    staged = stage(layout, run("mine", "2"))
    store(layout).record_run(run("theirs", "1"))
    monkeypatch.setattr(commit_module, "open_group", lambda *_args, **_options: NotedSyncs())
    publish(staged)
    assert calls == ["written", "sync_data", "renamed", "sync_names"]


def test_a_lock_out_leaves_no_temporary_and_discard_may_follow(layout: Layout) -> None:
    staged = stage(layout, run("a", "1"))
    assert len(names(layout)) == 1
    with TaskLock(layout, "t"), pytest.raises(TaskStateLockError):
        publish(staged)
    assert names(layout) == []
    staged.discard()


def test_discard_leaves_the_snapshot_alone(layout: Layout) -> None:
    store(layout).record_run(run("old", "1"))
    staged = stage(layout, run("a", "1"))
    staged.discard()
    staged.discard()
    assert ids(layout) == ["old"]
    assert names(layout) == ["runs.json"]


def test_no_descriptor_is_left_open(layout: Layout) -> None:
    store(layout).record_run(run("old", "1"))
    before = os.listdir("/proc/self/fd")
    publish(stage(layout, run("a", "1")))
    stage(layout, run("b", "1")).discard()
    assert os.listdir("/proc/self/fd") == before
    unchanged = stage(layout, run("a", "1"))
    assert os.listdir("/proc/self/fd") == before
    publish(unchanged)


def record_many(out_dir: str, runs_dir: str, name: str, count: int) -> None:
    policy = LockPolicy(attempts=1000, first_delay_seconds=0.001, max_delay_seconds=0.01)
    recorder = TaskStateStore(out_dir, runs_dir, lock_policy=policy, durability=Durability.NONE)
    for number in range(0, count, 2):
        recorder.record_runs([run(f"{name}-{n}", f"{n:03}") for n in (number, number + 1)])


def test_nothing_is_lost_where_many_processes_record_into_one_task(layout: Layout) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=record_many, args=(layout.out_dir, layout.runs_dir, name, 30))
        for name in "abc"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(ids(layout)) == sorted(f"{name}-{number}" for name in "abc" for number in range(30))
    assert names(layout) == ["runs.json"]
