"""Runs that were found in the place of others."""

from __future__ import annotations

import pytest
from support.drift import Tree, make_run, remaining_differences
from support.model import stringify
from support.repairs import kept, repair

from batchpersist.audit import FindingKind


def test_a_recovered_run_of_another_task_whose_place_is_taken_is_a_failure(tree: Tree) -> None:
    text = tree.snapshot("mail").read_text("utf-8").replace("é", "other ")
    tree.snapshot("copy").parent.mkdir()
    tree.snapshot("copy").write_text(text, "utf-8")
    report = repair(tree)
    assert report.exit_code == 3
    failure = report.failures["copy"]
    assert "no place, or it is taken" in failure.message
    assert failure.detail == "mail/mail-0, mail/mail-1, mail/mail-2, mail/mail-3"
    assert list(kept(report)) == ["set-aside/out/copy/runs.json"]
    assert tree.read("mail")["runs"] == [make_run("mail", number) for number in range(4)]


@pytest.mark.parametrize("is_torn", [True, False])
def test_nothing_is_written_outside_the_roots_for_ids_that_are_paths(tree: Tree, is_torn: bool) -> None:
    """Of an entry, and of a manifest in another's place: nothing is written where they point to."""
    outside = sorted(path for path in tree.out.parent.rglob("*") if "mail" not in path.parts)
    tree.manifest("mail", "mail-1").write_text(stringify(make_run("../../escaped", 1)))
    tree.manifest("mail", "mail-2").write_text(
        stringify({**make_run("other", 2), "runId": "../../../escaped"})
    )
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


def test_a_misplaced_run_is_moved_to_its_own_place(tree: Tree) -> None:
    """Into a task that has never been seen, with a snapshot and all."""
    misplaced = stringify(make_run("new", 1))
    tree.manifest("mail", "mail-9").parent.mkdir()
    tree.manifest("mail", "mail-9").write_text(misplaced)
    snapshot = tree.read("search")
    snapshot["runs"].append(make_run("new", 7, timestamp="2027"))
    tree.write("search", {**snapshot, "lastRunAt": "2027"})
    report = repair(tree)
    assert report.exit_code == 0
    assert [run["runId"] for run in tree.read("new")["runs"]] == ["new-1", "new-7"]
    assert tree.manifest("new", "new-1").read_text() == misplaced
    assert len(tree.read("search")["runs"]) == 4
    assert not tree.manifest("mail", "mail-9").exists()
    assert kept(report)["replaced/runs/mail/mail-9/manifest.json"] == misplaced.encode()


def test_a_copied_task_is_set_aside(tree: Tree) -> None:
    """A folder copied to another task's place: its runs are all where they belong already."""
    tree.snapshot("copy").parent.mkdir()
    tree.snapshot("copy").write_bytes(tree.snapshot("mail").read_bytes())
    before = tree.snapshot("mail").read_bytes()
    report = repair(tree)
    assert (report.exit_code, tree.snapshot("copy").exists()) == (0, False)
    assert tree.snapshot("mail").read_bytes() == before
    assert list(kept(report)) == ["set-aside/out/copy/runs.json"]


def test_a_misplaced_run_is_left_where_its_place_has_another_text(tree: Tree) -> None:
    misplaced = stringify(make_run("search", 1, notes="which one is right?"))
    tree.manifest("mail", "mail-9").parent.mkdir()
    tree.manifest("mail", "mail-9").write_text(misplaced)
    report = repair(tree)
    assert (report.exit_code, report.left.counts) == (3, {FindingKind.WRONG_ID: 1})
    assert tree.manifest("mail", "mail-9").read_text() == misplaced


def test_a_task_that_the_file_system_takes_for_another_loses_nothing(tree: Tree) -> None:
    """As where case is folded; here two names lead to one folder by a link."""
    for root in (tree.out, tree.runs):
        (root / "Mail").symlink_to("mail")
    tree.manifest("mail", "mail-1").write_text(stringify(make_run("Mail", 1, runId="mail-1")))
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


def test_a_misplaced_run_is_moved_once_its_own_place_is_repaired(tree: Tree) -> None:
    """The tasks are repaired in the order of their names: the misplaced's own one comes last."""
    tree.manifest("billing", "misplaced").parent.mkdir()
    tree.manifest("mail", "mail-0").rename(tree.manifest("billing", "misplaced"))
    tree.manifest("mail", "mail-0").write_bytes(b"")
    assert (repair(tree).exit_code, remaining_differences(tree)) == (0, set())


def test_a_task_id_in_the_next_round_is_not_a_pattern(tree: Tree) -> None:
    """The next round checks just this task: its name is not a pattern."""
    tree.manifest("mail", "mail-9").parent.mkdir()
    tree.manifest("mail", "mail-9").write_text(stringify(make_run("new[1]", 1)))
    assert repair(tree).exit_code == 0
    assert [run["runId"] for run in tree.read("new[1]")["runs"]] == ["new[1]-1"]
