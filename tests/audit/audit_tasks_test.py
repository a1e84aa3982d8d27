"""An audit's jobs for several workers."""

from __future__ import annotations

import shutil

import pytest
from support.audits import audit, kill_one_worker, summarize
from support.drift import DRIFTS, TASKS, Tree

from batchpersist.audit import AuditOptions, FindingKind, audit_root, tasks
from batchpersist.audit.check_task import TaskCheck, TaskSlice


def test_a_pool_and_slices_of_tasks_find_the_same(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for drift in DRIFTS:
        for task in TASKS[:2]:
            drift(tree, task, 1, 5)
    alone, in_pool = audit(tree), audit(tree, workers=2, pool_runs=0)
    monkeypatch.setattr(tasks, "SLICE_BYTES", 500)
    shared = audit(tree, workers=2, pool_runs=0)
    assert len(list(tasks.slices_of("mail", 2000, 2))) == 4
    for other in (in_pool, shared):
        assert summarize(other[1]) == summarize(alone[1])
        assert other[2] == alone[2]
        assert (other[0].tasks, other[0].runs) == (alone[0].tasks, alone[0].runs)


def test_a_folder_is_reported_once_whatever_the_number_of_slices(tree: Tree) -> None:
    shutil.rmtree(tree.runs / "mail")
    (tree.runs / "mail").write_text("in the way")
    options = AuditOptions(str(tree.out), str(tree.runs))
    slices = [TaskSlice("mail", number, 3) for number in range(3)]
    found = [finding for each in slices for finding in TaskCheck(each, options).run().findings]
    assert summarize(found) == [("unreadable", "mail", ""), ("wrong-file-type", "mail", "")]


def test_no_finding_is_lost_when_a_worker_dies(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "SHARD_TASKS", 1)
    for number in range(10):
        tree.fill(range(4), [f"task-{number}"])
        tree.manifest(f"task-{number}", f"task-{number}-0").unlink()
    killed: list[int] = []
    options = AuditOptions(str(tree.out), str(tree.runs), workers=2, pool_runs=0, pause_seconds=0)
    report = audit_root(options, on_event=lambda _event: kill_one_worker(killed))
    assert killed
    assert report.counts == {FindingKind.MISSING_MANIFEST: 10}
