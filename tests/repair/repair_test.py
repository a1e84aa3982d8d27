from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audit_test import kill_one_worker
from hypothesis import given, settings
from hypothesis import strategies as st
from model import record, stringify
from support.drift import DRIFTS, TASKS, Tree, a_run, left_over, parsable_runs, parsed

from batchpersist.audit import AuditOptions, Finding, Kind
from batchpersist.errors import BatchLockedError, RootMissingError
from batchpersist.layout import Layout
from batchpersist.locking.batchlock import BatchLock
from batchpersist.locking.locks import TaskLock
from batchpersist.models import Durability, Keys
from batchpersist.options import LockPolicy
from batchpersist.repair import Remedy, RepairOptions, RepairReport, manifests, repair_root
from batchpersist.repair.backup import Keeper
from batchpersist.repair.options import Prefer

Step = tuple[object, str, int, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(DRIFTS), st.sampled_from(TASKS), st.integers(0, 7), st.integers(0, 4000)),
    max_size=6,
)


def options(tree: Tree, prefer: Prefer | None = None, **how: object) -> RepairOptions:
    audit = AuditOptions(str(tree.out), str(tree.runs), **{"pause_seconds": 0.0, **how})  # type: ignore[arg-type]
    return RepairOptions(audit, prefer, durability=Durability.NONE)


def repair(tree: Tree, prefer: Prefer | None = None, **how: object) -> RepairReport:
    return repair_root(options(tree, prefer, **how), dry_run=False)


@settings(max_examples=100, deadline=None)
@given(STEPS, st.sampled_from([None, "manifest", "snapshot"]))
def test_after_a_repair_nothing_differs_and_no_run_is_lost(steps: list[Step], prefer: Prefer | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder)).fill()
        for drift, task, at, byte in steps:
            drift(tree, task, at, byte)  # type: ignore[operator]
        before, found = parsable_runs(tree), left_over(tree)
        report = repair(tree, prefer)
        left = left_over(tree)
        after = parsable_runs(tree)
        strays = {(task, run_id) for kind, task, run_id in left if kind == "wrong-id"}
        assert {kind for kind, _, _ in left} <= {"content-differs", "wrong-id"}
        assert prefer is None or len(left) == len(strays)
        for place in strays:  # in the run's own place stands another text
            run = parsed(tree.manifest(*place))
            assert parsed(tree.manifest(run["taskId"], run["runId"])) != run
        for (task, run_id), parsable in before.items():
            # As it was at first: it may be what is salvaged of a torn snapshot.
            texts = [*parsable, a_run(task, int(run_id.removeprefix(f"{task}-")))]
            snapshot = parsed(tree.snapshot(task)) if tree.snapshot(task).exists() else None
            legacy = parsed(tree.snapshot(task).with_name("state.json"))
            entries = [run for run in (snapshot or legacy)["runs"] if run["runId"] == run_id]
            assert len(entries) == 1 or snapshot is None  # a legacy state is never written
            assert all(entry in texts for entry in entries)
            assert entries
            assert parsed(tree.manifest(task, run_id)) in texts
        assert after.keys() >= before.keys()
        assert report.findings == 0 or found
        assert sorted(report.left.counts) == sorted({Kind(kind) for kind, _, _ in left})
        assert report.exit_code == (3 if left else 0)
        again = repair(tree, prefer)
        assert (again.findings, again.folder) == (len(left), None)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path).fill()


def kept(report: RepairReport) -> dict[str, bytes]:
    """What is below the folder of a repair."""
    assert report.folder is not None
    root = Path(report.folder)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.json")}


def files(tree: Tree) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in tree.root.rglob("*") if path.is_file()}


def test_a_dry_repair_writes_nothing_and_says_what_it_would_do(tree: Tree) -> None:
    tree.manifest("mail", "mail-1").unlink()
    tree.manifest("mail", "mail-2").write_text(stringify(a_run("mail", 2, notes="other")))
    before, told = files(tree), []
    report = repair_root(
        options(tree), on_finding=lambda finding, remedy: told.append((finding.run_id, remedy))
    )
    assert files(tree) == before
    assert sorted(told) == [("mail-1", Remedy.WRITE), ("mail-2", None)]
    assert (report.exit_code, report.findings, report.without_remedy) == (5, 2, 1)


def test_where_nothing_differs_there_is_nothing_to_do(tree: Tree) -> None:
    assert repair_root(options(tree)).exit_code == 0
    report = repair(tree)
    assert (report.exit_code, report.findings, report.folder) == (0, 0, None)


def test_where_there_is_nothing_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(RootMissingError):
        repair(Tree(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_is_as_if_its_runs_had_been_recorded_in_turn(tree: Tree) -> None:
    """Unsorted, with runs that come twice, and without one that has a manifest."""
    runs = [a_run("mail", number) for number in (3, 1, 2, 1, 0)]
    runs[3]["notes"] = "later"
    tree.write("mail", {"taskId": "mail", "lastRunAt": "never", "runs": runs[:4], "more": [1]})
    tree.manifest("mail", "mail-1").unlink()
    before = tree.snapshot("mail").read_bytes()
    report = repair(tree)
    assert report.exit_code == 0
    wanted = None
    for run in runs:
        wanted = record(wanted, run, "mail")
    assert tree.read("mail") == {**wanted, "more": [1]}  # type: ignore[dict-item]
    assert tree.snapshot("mail").read_text("utf-8") == stringify(tree.read("mail"))
    assert parsed(tree.manifest("mail", "mail-1"))["notes"] == "later"
    assert kept(report) == {"replaced/out/mail/runs.json": before}


def test_of_several_entries_the_one_that_is_as_its_manifest_stays(tree: Tree) -> None:
    snapshot = tree.read("mail")
    snapshot["runs"].append({**a_run("mail", 3), "notes": "later"})
    tree.write("mail", snapshot)
    assert repair(tree).exit_code == 0
    assert tree.read("mail")["runs"] == [a_run("mail", number) for number in range(4)]


def test_one_that_cannot_be_written_does_not_stop_the_others(tree: Tree) -> None:
    for number in (0, 1, 2):
        shutil.rmtree(tree.runs / "mail" / f"mail-{number}")
    (tree.runs / "mail" / "mail-1").write_text("in the way")
    report = repair(tree)
    assert (report.exit_code, report.left.counts) == (3, {Kind.MISSING_MANIFEST: 1})
    assert report.failures["mail"].type == "NotADirectoryError"
    assert tree.manifest("mail", "mail-0").exists()
    assert tree.manifest("mail", "mail-2").exists()


def test_a_salvaged_run_of_another_task_whose_place_is_taken_is_told(tree: Tree) -> None:
    text = tree.snapshot("mail").read_text("utf-8").replace("é", "other ")
    tree.snapshot("copy").parent.mkdir()
    tree.snapshot("copy").write_text(text, "utf-8")
    report = repair(tree)
    assert report.exit_code == 3
    failure = report.failures["copy"]
    assert "no place, or it is taken" in failure.message
    assert failure.detail == "mail/mail-0, mail/mail-1, mail/mail-2, mail/mail-3"
    assert list(kept(report)) == ["set-aside/out/copy/runs.json"]
    assert tree.read("mail")["runs"] == [a_run("mail", number) for number in range(4)]


@pytest.mark.parametrize("is_torn", [True, False])
def test_ids_that_are_paths_lead_out_of_no_root(tree: Tree, is_torn: bool) -> None:
    """Of an entry, and of a manifest in another's place: nothing is written where they point to."""
    outside = sorted(path for path in tree.out.parent.rglob("*") if "mail" not in path.parts)
    tree.manifest("mail", "mail-1").write_text(stringify(a_run("../../escaped", 1)))
    tree.manifest("mail", "mail-2").write_text(stringify({**a_run("other", 2), "runId": "../../../escaped"}))
    snapshot = tree.read("mail")
    snapshot["runs"][0]["taskId"] = "../../escaped"
    text = stringify(snapshot)
    tree.snapshot("mail").write_text(text[:-20] if is_torn else text)
    report = repair(tree)
    assert report.exit_code == 3
    if is_torn:
        assert report.failures["mail"].detail == f"../../escaped/{snapshot['runs'][0]['runId']}"
    found = sorted(path for path in tree.out.parent.rglob("*") if "mail" not in path.parts)
    assert [path for path in found if ".batchpersist" not in path.parts] == outside
    assert not list(tree.out.parent.parent.glob("escaped*"))


def test_permission_bits_stay(tree: Tree) -> None:
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
def test_whose_text_counts_is_for_the_user_to_say(tree: Tree, prefer: Prefer) -> None:
    ours, theirs = a_run("mail", 2), a_run("mail", 2, notes="other", timestamp="2027")
    tree.manifest("mail", "mail-2").write_text(stringify(theirs))
    report = repair(tree)
    assert (report.exit_code, report.left.counts[Kind.CONTENT_DIFFERS]) == (3, 1)
    assert report.folder is None
    report = repair(tree, prefer)
    assert report.exit_code == 0
    right = theirs if prefer == "manifest" else ours
    assert parsed(tree.manifest("mail", "mail-2")) == right
    assert right in tree.read("mail")["runs"]
    assert len(tree.read("mail")["runs"]) == 4
    replaced = "out/mail/runs.json" if prefer == "manifest" else "runs/mail/mail-2/manifest.json"
    assert list(kept(report)) == [f"replaced/{replaced}"]


def test_a_torn_snapshot_is_set_aside_and_its_whole_entries_are_salvaged(tree: Tree) -> None:
    whole = tree.snapshot("mail").read_bytes()
    for number in (1, 2):
        tree.manifest("mail", f"mail-{number}").unlink()
    torn = whole[: whole.index(b"mail-3") + 3] + bytes(1000)
    tree.snapshot("mail").write_bytes(torn)
    report = repair(tree)
    assert report.exit_code == 0
    assert tree.snapshot("mail").read_bytes() == whole
    assert kept(report) == {"set-aside/out/mail/runs.json": torn}
    assert parsed(tree.manifest("mail", "mail-2")) == a_run("mail", 2)


def test_entries_behind_a_damaged_place_are_salvaged_too(tree: Tree) -> None:
    whole = tree.snapshot("mail").read_bytes()
    for number in range(4):
        tree.manifest("mail", f"mail-{number}").unlink()
    tree.snapshot("mail").write_bytes(whole.replace(b'"notes": "\xc3\xa91"', b'"notes": "\x00\x00'))
    assert repair(tree).exit_code == 0
    assert [run["runId"] for run in tree.read("mail")["runs"]] == ["mail-0", "mail-2", "mail-3"]


def test_a_torn_snapshot_in_another_layout_is_salvaged_up_to_the_tear(tree: Tree) -> None:
    text = json.dumps(tree.read("mail"))
    for number in range(4):
        tree.manifest("mail", f"mail-{number}").unlink()
    tree.snapshot("mail").write_text(text[: text.index("mail-2")])
    assert repair(tree).exit_code == 0
    assert tree.read("mail")["runs"] == [a_run("mail", 0), a_run("mail", 1)]


def test_another_list_of_the_name_is_not_taken_for_the_snapshot_s(tree: Tree) -> None:
    text = json.dumps({"note": {"runs": [1]}} | tree.read("mail"))
    for number in range(4):
        tree.manifest("mail", f"mail-{number}").unlink()
    tree.snapshot("mail").write_text(text[: text.index("mail-2")])
    assert repair(tree).exit_code == 0
    assert tree.read("mail")["runs"] == [a_run("mail", 0), a_run("mail", 1)]


@pytest.mark.parametrize("content", [b"", b"not JSON", b"[]", b'{"taskId":"mail","runs":{}}'])
def test_where_nothing_can_be_salvaged_the_manifests_make_the_snapshot(tree: Tree, content: bytes) -> None:
    whole = tree.read("mail")
    tree.snapshot("mail").write_bytes(content)
    report = repair(tree)
    assert report.exit_code == 0
    assert tree.read("mail") == whole
    assert kept(report) == {"set-aside/out/mail/runs.json": content}


def test_where_there_is_no_run_at_all_a_damaged_snapshot_is_only_set_aside(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.runs.mkdir()
    tree.snapshot("mail").parent.mkdir(parents=True)
    tree.snapshot("mail").write_bytes(b"{")
    report = repair(tree)
    assert (report.exit_code, tree.snapshot("mail").exists()) == (0, False)
    assert kept(report) == {"set-aside/out/mail/runs.json": b"{"}


def test_a_legacy_state_is_read_and_never_written(tree: Tree) -> None:
    legacy = tree.snapshot("mail").with_name("state.json")
    tree.snapshot("mail").rename(legacy)
    content = legacy.read_bytes()
    tree.fill([], ["mail"])
    tree.manifest("mail", "mail-9").parent.mkdir()
    tree.manifest("mail", "mail-9").write_text(stringify(a_run("mail", 9)))
    assert repair(tree).exit_code == 0
    assert [run["runId"] for run in tree.read("mail")["runs"]] == [f"mail-{n}" for n in (0, 1, 2, 3, 9)]
    assert legacy.read_bytes() == content
    tree.snapshot("mail").write_bytes(b"{")
    for number in range(4):
        tree.manifest("mail", f"mail-{number}").unlink()
    assert repair(tree).exit_code == 0
    assert len(tree.read("mail")["runs"]) == 5


def test_a_manifest_that_is_none_is_set_aside_and_written_from_the_snapshot(tree: Tree) -> None:
    whole = tree.manifest("mail", "mail-1").read_bytes()
    for run_id, content in (("mail-1", whole[:20]), ("mail-2", whole[:20]), ("mail-9", b"[]")):
        tree.manifest("mail", run_id).parent.mkdir(exist_ok=True)
        tree.manifest("mail", run_id).write_bytes(content)
    report = repair(tree)
    assert report.exit_code == 0
    assert tree.manifest("mail", "mail-1").read_bytes() == whole
    assert not tree.manifest("mail", "mail-9").parent.exists()
    assert kept(report) == {
        "set-aside/runs/mail/mail-1/manifest.json": whole[:20],
        "set-aside/runs/mail/mail-2/manifest.json": whole[:20],
        "set-aside/runs/mail/mail-9/manifest.json": b"[]",
    }


def test_a_manifest_with_nuls_behind_it_is_a_manifest(tree: Tree) -> None:
    run = stringify(a_run("mail", 9)).encode()
    tree.manifest("mail", "mail-9").parent.mkdir()
    tree.manifest("mail", "mail-9").write_bytes(run + bytes(500))
    assert repair(tree).exit_code == 0
    assert tree.manifest("mail", "mail-9").read_bytes() == run
    assert tree.read("mail")["runs"][-1] == a_run("mail", 9)


def test_a_run_in_another_s_place_is_put_where_it_belongs(tree: Tree) -> None:
    """Into a task that has never been seen, with a snapshot and all."""
    stray = stringify(a_run("new", 1))
    tree.manifest("mail", "mail-9").parent.mkdir()
    tree.manifest("mail", "mail-9").write_text(stray)
    snapshot = tree.read("search")
    snapshot["runs"].append(a_run("new", 7, timestamp="2027"))
    tree.write("search", {**snapshot, "lastRunAt": "2027"})
    report = repair(tree)
    assert report.exit_code == 0
    assert [run["runId"] for run in tree.read("new")["runs"]] == ["new-1", "new-7"]
    assert tree.manifest("new", "new-1").read_text() == stray
    assert len(tree.read("search")["runs"]) == 4
    assert not tree.manifest("mail", "mail-9").exists()
    assert kept(report)["replaced/runs/mail/mail-9/manifest.json"] == stray.encode()


def test_a_copied_task_is_set_aside(tree: Tree) -> None:
    """A folder copied to another task's place: its runs are all where they belong already."""
    tree.snapshot("copy").parent.mkdir()
    tree.snapshot("copy").write_bytes(tree.snapshot("mail").read_bytes())
    before = tree.snapshot("mail").read_bytes()
    report = repair(tree)
    assert (report.exit_code, tree.snapshot("copy").exists()) == (0, False)
    assert tree.snapshot("mail").read_bytes() == before
    assert list(kept(report)) == ["set-aside/out/copy/runs.json"]


def test_a_stray_is_left_where_its_place_is_taken_by_another_text(tree: Tree) -> None:
    stray = stringify(a_run("search", 1, notes="which one is right?"))
    tree.manifest("mail", "mail-9").parent.mkdir()
    tree.manifest("mail", "mail-9").write_text(stray)
    report = repair(tree)
    assert (report.exit_code, report.left.counts) == (3, {Kind.WRONG_ID: 1})
    assert tree.manifest("mail", "mail-9").read_text() == stray


def test_a_task_that_the_file_system_takes_for_another_loses_nothing(tree: Tree) -> None:
    """As where case is folded; here two names lead to one folder by a link."""
    for root in (tree.out, tree.runs):
        (root / "Mail").symlink_to("mail")
    tree.manifest("mail", "mail-1").write_text(stringify(a_run("Mail", 1, runId="mail-1")))
    snapshot = tree.read("mail")
    snapshot["runs"][2]["taskId"] = "Mail"
    tree.write("mail", snapshot)
    before = {path: path.read_bytes() for path in [tree.snapshot("mail"), *tree.manifests("mail")]}
    assert repair(tree).exit_code == 3
    assert len(tree.read("mail")["runs"]) == 4
    tree.write("mail", {**snapshot, "taskId": "Mail"})
    snapshot_before = tree.snapshot("mail").read_bytes()
    assert "takes another task for this one" in repair(tree).failures["mail"].message
    assert tree.snapshot("mail").read_bytes() == snapshot_before
    assert sorted(tree.manifests("mail")) == sorted(path for path in before if path.name == "manifest.json")


def test_a_stray_whose_place_is_repaired_later_is_put_there_after_all(tree: Tree) -> None:
    """The tasks are repaired in the order of their names: the stray's own one comes last."""
    tree.manifest("billing", "stray").parent.mkdir()
    tree.manifest("mail", "mail-0").rename(tree.manifest("billing", "stray"))
    tree.manifest("mail", "mail-0").write_bytes(b"")
    assert (repair(tree).exit_code, left_over(tree)) == (0, set())


def test_what_nobody_can_decide_is_left(tree: Tree) -> None:
    (tree.runs / "a:b").mkdir()
    (tree.runs / "link").symlink_to(tree.root)
    tree.manifest("mail", "mail-0").unlink()
    report = repair(tree)
    assert (report.exit_code, report.left.counts) == (3, {Kind.UNSAFE_NAME: 1, Kind.WRONG_FILE_TYPE: 1})
    assert tree.manifest("mail", "mail-0").exists()


def test_copies_are_kept_until_the_next_repair_and_what_was_set_aside_for_good(tree: Tree) -> None:
    tree.manifest("mail", "mail-0").write_text("{")
    tree.manifest("search", "search-0").write_text(stringify(a_run("search", 0, notes="other")))
    first = repair(tree, "snapshot")
    assert sorted(name.partition("/")[0] for name in kept(first)) == ["replaced", "set-aside"]
    assert repair(tree).folder is None
    assert len(kept(first)) == 2, "there was nothing to replace"
    tree.manifest("search", "search-0").write_text(stringify(a_run("search", 0, notes="other")))
    second = repair(tree, "snapshot")
    assert list(kept(first)) == ["set-aside/runs/mail/mail-0/manifest.json"]
    tree.manifest("search", "search-0").write_text(stringify(a_run("search", 0, notes="other")))
    repair(tree, "snapshot")
    assert second.folder is not None
    assert not Path(second.folder).exists()


def test_what_an_interrupted_repair_replaced_is_kept_until_its_work_is_done(tree: Tree) -> None:
    for task in ("mail", "search"):
        tree.manifest(task, f"{task}-0").write_text(stringify(a_run(task, 0, notes="other")))
    seen: list[Finding] = []
    half = repair_root(
        options(tree, "snapshot"),
        dry_run=False,
        on_finding=lambda f, _: seen.append(f),
        should_stop=lambda: len(seen) > 0,
    )
    assert half.interrupted
    assert len(kept(half)) == 1
    assert repair(tree, "snapshot").exit_code == 0
    assert len(kept(half)) == 1
    tree.manifest("mail", "mail-0").write_text(stringify(a_run("mail", 0, notes="other")))
    repair(tree, "snapshot")
    assert half.folder is not None
    assert not Path(half.folder).exists()


def test_what_a_further_round_replaces_is_kept_beside_what_the_first_has_replaced(tree: Tree) -> None:
    """A second entry of a run goes in the first round; then a run comes back that had strayed."""
    snapshot = tree.read("billing")
    tree.write("billing", {**snapshot, "runs": [a_run("billing", 0, notes="alone"), *snapshot["runs"]]})
    before = tree.snapshot("billing").read_bytes()
    tree.manifest("mail", "stray").parent.mkdir()
    tree.manifest("mail", "stray").write_text(stringify(a_run("billing", 7)))
    report = repair(tree)
    assert report.exit_code == 0
    assert kept(report)["replaced/out/billing/runs.json"] == before
    assert b"alone" not in kept(report)["replaced/out/billing/runs.2.json"]


def test_a_locked_task_is_left_and_the_others_are_repaired(tree: Tree) -> None:
    for task in ("mail", "search"):
        tree.snapshot(task).unlink()
    with TaskLock(tree_layout(tree), "mail"):
        report = repair_root(
            replace(options(tree), lock_policy=LockPolicy(attempts=1)),
            dry_run=False,
            on_event=lambda _event: None,
        )
    assert report.exit_code == 3
    assert {task: failure.type for task, failure in report.failures.items()} == {"mail": "TaskStateLockError"}
    assert report.left.counts == {Kind.MISSING_IN_SNAPSHOT: 4}
    assert len(tree.read("search")["runs"]) == 4
    assert repair(tree).exit_code == 0


def test_beside_a_batch_it_is_refused(tree: Tree) -> None:
    tree.manifest("mail", "mail-0").unlink()
    with BatchLock(tree_layout(tree), "a batch"):
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
    both = [
        {
            str(path.relative_to(tree.root)): text
            for path, text in files(tree).items()
            if ".batch" not in str(path)
        }
        for tree in trees
    ]
    assert both[0] == both[1]


def test_a_worker_that_dies_costs_no_repair(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        tree.fill(range(4), [f"task-{number}"])
        tree.snapshot(f"task-{number}").unlink()
    killed: list[int] = []
    report = repair_root(
        options(tree, workers=2, pool_runs=0), dry_run=False, on_event=lambda _event: kill_one_worker(killed)
    )
    assert killed
    assert (report.exit_code, report.failures) == (0, {})
    assert left_over(tree) == set()


def test_a_stray_of_a_task_with_an_odd_name(tree: Tree) -> None:
    """The next round looks at just this task: its name is no pattern."""
    tree.manifest("mail", "mail-9").parent.mkdir()
    tree.manifest("mail", "mail-9").write_text(stringify(a_run("new[1]", 1)))
    assert repair(tree).exit_code == 0
    assert [run["runId"] for run in tree.read("new[1]")["runs"]] == ["new[1]-1"]


def test_other_names_of_the_keys(tmp_path: Path) -> None:
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
    assert parsed(tree.manifest("nightly", "run-1")) == runs[0]


def test_other_writers_between_look_and_rename_lose_nothing(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that a new snapshot is ready, another run has been recorded in the old one."""
    tree.manifest("mail", "mail-9").parent.mkdir()
    tree.manifest("mail", "mail-9").write_text(stringify(a_run("mail", 9)))
    real, times = Keeper.keep, []

    def keep(self: Keeper, path: str, *rest: Any, **more: Any) -> None:
        real(self, path, *rest, **more)
        if len(times) < 3:
            times.append(path)
            tree.fill([10 + len(times)], ["mail"])

    monkeypatch.setattr(Keeper, "keep", keep)
    assert repair(tree).exit_code == 0
    assert len(times) == 3
    assert {run["runId"] for run in tree.read("mail")["runs"]} == {
        f"mail-{number}" for number in (0, 1, 2, 3, 9, 11, 12, 13)
    }


def test_a_manifest_that_another_has_just_written_stays(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.manifest("mail", "mail-0").unlink()
    tree.manifest("mail", "mail-1").write_text(stringify(a_run("mail", 1, notes="old")))
    newer = {number: stringify(a_run("mail", number, notes="newest")) for number in (0, 1)}
    real = manifests.stage_manifest

    def stage(*words: Any) -> Any:
        staged = real(*words)
        for number, text in newer.items():
            tree.manifest("mail", f"mail-{number}").write_text(text)
        return staged

    monkeypatch.setattr(manifests, "stage_manifest", stage)
    report = repair(tree, "snapshot")
    for number, text in newer.items():
        assert tree.manifest("mail", f"mail-{number}").read_text() == text
    assert report.exit_code == 3


def tree_layout(tree: Tree) -> Layout:
    return Layout(str(tree.out), str(tree.runs))
