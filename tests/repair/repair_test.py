"""A repair as a whole: what it fixes, what it leaves, and that it loses nothing."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audits import kill_one_worker
from support.drift import DRIFTS, TASKS, Tree, make_run, parsable_runs, read_json, remaining_differences
from support.engine import tree as files_below
from support.model import stringify
from support.repairs import kept, options, repair

from batchpersist.audit import FindingKind
from batchpersist.errors import BatchLockedError, RootMissingError
from batchpersist.locks.batch_lock import BatchLock
from batchpersist.locks.task_lock import TaskLock
from batchpersist.models import Keys
from batchpersist.options import LockPolicy
from batchpersist.repair import Fix, Prefer, repair_root

Step = tuple[object, str, int, int]


STEPS = st.lists(
    st.tuples(st.sampled_from(DRIFTS), st.sampled_from(TASKS), st.integers(0, 7), st.integers(0, 4000)),
    max_size=6,
)


def contents(tree: Tree) -> dict[Path, bytes]:
    """All files, batchpersist's own as well."""
    return {path: path.read_bytes() for path in tree.root.rglob("*") if path.is_file()}


@settings(max_examples=100, deadline=None)
@given(STEPS, st.sampled_from([None, "manifest", "snapshot"]))
def test_after_a_repair_nothing_differs_and_no_run_is_lost(steps: list[Step], prefer: Prefer | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder)).fill()
        for drift, task, at, byte in steps:
            drift(tree, task, at, byte)  # type: ignore[operator]
        before, found = parsable_runs(tree), remaining_differences(tree)
        report = repair(tree, prefer)
        left = remaining_differences(tree)
        after = parsable_runs(tree)
        misplaced = {(task, run_id) for kind, task, run_id in left if kind == "wrong-id"}
        assert {kind for kind, _, _ in left} <= {"content-differs", "wrong-id"}
        assert prefer is None or len(left) == len(misplaced)
        for place in misplaced:  # the run's own place has another text
            run = read_json(tree.manifest(*place))
            assert read_json(tree.manifest(run["taskId"], run["runId"])) != run
        for (task, run_id), parsable in before.items():
            # As it was at first: it may be what is recovered from a torn snapshot.
            texts = [*parsable, make_run(task, int(run_id.removeprefix(f"{task}-")))]
            snapshot = read_json(tree.snapshot(task)) if tree.snapshot(task).exists() else None
            legacy = read_json(tree.snapshot(task).with_name("state.json"))
            entries = [run for run in (snapshot or legacy)["runs"] if run["runId"] == run_id]
            assert len(entries) == 1 or snapshot is None  # a legacy state is never written
            assert all(entry in texts for entry in entries)
            assert entries
            assert read_json(tree.manifest(task, run_id)) in texts
        assert after.keys() >= before.keys()
        assert report.findings == 0 or found
        assert sorted(report.left.counts) == sorted({FindingKind(kind) for kind, _, _ in left})
        assert report.exit_code == (3 if left else 0)
        again = repair(tree, prefer)
        assert (again.findings, again.folder) == (len(left), None)


def test_a_dry_run_writes_nothing_and_reports_the_fixes(tree: Tree) -> None:
    tree.manifest("mail", "mail-1").unlink()
    tree.manifest("mail", "mail-2").write_text(stringify(make_run("mail", 2, notes="other")))
    before, reported = contents(tree), []
    report = repair_root(
        options(tree), on_finding=lambda finding, fix: reported.append((finding.run_id, fix))
    )
    assert contents(tree) == before
    assert sorted(reported) == [("mail-1", Fix.WRITE), ("mail-2", None)]
    assert (report.exit_code, report.findings, report.without_fix) == (5, 2, 1)


def test_without_differences_there_is_nothing_to_repair(tree: Tree) -> None:
    assert repair_root(options(tree)).exit_code == 0
    report = repair(tree)
    assert (report.exit_code, report.findings, report.folder) == (0, 0, None)


def test_missing_roots_are_not_made(tmp_path: Path) -> None:
    with pytest.raises(RootMissingError):
        repair(Tree(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_permission_bits_are_kept(tree: Tree) -> None:
    tree.snapshot("mail").chmod(0o640)
    tree.manifest("mail", "mail-0").chmod(0o604)
    snapshot = tree.read("mail")
    snapshot["lastRunAt"] = "never"
    snapshot["runs"][0]["notes"] = "right"
    tree.write("mail", snapshot)
    assert repair(tree, "snapshot").exit_code == 0
    assert tree.snapshot("mail").stat().st_mode & 0o777 == 0o640
    assert tree.manifest("mail", "mail-0").stat().st_mode & 0o777 == 0o604


@pytest.mark.parametrize("prefer", ["manifest", "snapshot"])
def test_user_chooses_the_preferred_side(tree: Tree, prefer: Prefer) -> None:
    ours, theirs = make_run("mail", 2), make_run("mail", 2, notes="other", timestamp="2027")
    tree.manifest("mail", "mail-2").write_text(stringify(theirs))
    report = repair(tree)
    assert (report.exit_code, report.left.counts[FindingKind.CONTENT_DIFFERS]) == (3, 1)
    assert report.folder is None
    report = repair(tree, prefer)
    assert report.exit_code == 0
    right = theirs if prefer == "manifest" else ours
    assert read_json(tree.manifest("mail", "mail-2")) == right
    assert right in tree.read("mail")["runs"]
    assert len(tree.read("mail")["runs"]) == 4
    replaced = "out/mail/runs.json" if prefer == "manifest" else "runs/mail/mail-2/manifest.json"
    assert list(kept(report)) == [f"replaced/{replaced}"]


def test_findings_without_a_fix_are_left(tree: Tree) -> None:
    (tree.runs / "a:b").mkdir()
    (tree.runs / "link").symlink_to(tree.root)
    tree.manifest("mail", "mail-0").unlink()
    report = repair(tree)
    assert (report.exit_code, report.left.counts) == (
        3,
        {FindingKind.UNSAFE_NAME: 1, FindingKind.WRONG_FILE_TYPE: 1},
    )
    assert tree.manifest("mail", "mail-0").exists()


def test_a_locked_task_is_left_and_the_others_are_repaired(tree: Tree) -> None:
    for task in ("mail", "search"):
        tree.snapshot(task).unlink()
    with TaskLock(options(tree).audit.layout, "mail"):
        report = repair_root(
            replace(options(tree), lock_policy=LockPolicy(attempts=1)),
            dry_run=False,
            on_event=lambda _event: None,
        )
    assert report.exit_code == 3
    assert {task: failure.type for task, failure in report.failures.items()} == {"mail": "TaskStateLockError"}
    assert report.left.counts == {FindingKind.MISSING_IN_SNAPSHOT: 4}
    assert len(tree.read("search")["runs"]) == 4
    assert repair(tree).exit_code == 0


def test_the_log_says_why_a_fix_failed(tree: Tree, caplog: pytest.LogCaptureFixture) -> None:
    tree.snapshot("mail").unlink()
    with caplog.at_level(logging.DEBUG, "batchpersist.repair"), TaskLock(options(tree).audit.layout, "mail"):
        repair_root(replace(options(tree), lock_policy=LockPolicy(attempts=1)), dry_run=False)
    assert any(line.startswith("mail: not fixed: task is locked") for line in caplog.messages)


def test_a_repair_is_refused_beside_a_batch(tree: Tree) -> None:
    tree.manifest("mail", "mail-0").unlink()
    with BatchLock(options(tree).audit.layout, "a batch"):
        with pytest.raises(BatchLockedError):
            repair(tree)
        assert repair_root(options(tree)).exit_code == 5


def test_a_pool_repairs_as_one_process_does(tmp_path: Path) -> None:
    trees = [Tree(tmp_path / name).fill(range(20)) for name in ("alone", "pool")]
    for tree in trees:
        for number, drift in enumerate(DRIFTS):
            drift(tree, TASKS[number % 3], number, 999)
    alone, pool = repair(trees[0], "manifest"), repair(trees[1], "manifest", workers=2, pool_runs=0)
    assert alone.found.counts == pool.found.counts
    assert (alone.exit_code, pool.exit_code) == (0, 0)
    first, second = (files_below(tree.root) for tree in trees)
    assert first == second


def test_no_repair_is_lost_when_a_worker_dies(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        tree.fill(range(4), [f"task-{number}"])
        tree.snapshot(f"task-{number}").unlink()
    killed: list[int] = []
    report = repair_root(
        options(tree, workers=2, pool_runs=0), dry_run=False, on_event=lambda _event: kill_one_worker(killed)
    )
    assert killed
    assert (report.exit_code, report.failures) == (0, {})
    assert remaining_differences(tree) == set()


def test_keys_may_have_other_names(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    runs = [
        {"job": "nightly", "id": f"run-{n}", "at": f"2026-01-0{n}", "taskId": "misleading"} for n in (1, 2)
    ]
    tree.snapshot("nightly").parent.mkdir(parents=True)
    tree.write("nightly", {"taskId": "nightly", "lastRunAt": "2026-01-01", "runs": [runs[0]]})
    tree.manifest("nightly", "run-2").parent.mkdir(parents=True)
    tree.manifest("nightly", "run-2").write_text(stringify(runs[1]))
    assert repair(tree, keys=Keys("job", "id", "at")).exit_code == 0
    assert tree.read("nightly") == {"taskId": "nightly", "lastRunAt": "2026-01-02", "runs": runs}
    assert read_json(tree.manifest("nightly", "run-1")) == runs[0]
