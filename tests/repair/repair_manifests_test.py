"""The repair of manifests."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from support.drift import Tree, make_run
from support.model import stringify
from support.repairs import kept, repair

from batchpersist.audit import FindingKind
from batchpersist.repair import manifests


def test_a_manifest_that_cannot_be_written_does_not_stop_the_others(tree: Tree) -> None:
    for number in (0, 1, 2):
        shutil.rmtree(tree.runs / "mail" / f"mail-{number}")
    (tree.runs / "mail" / "mail-1").write_text("in the way")
    report = repair(tree)
    assert (report.exit_code, report.left.counts) == (3, {FindingKind.MISSING_MANIFEST: 1})
    assert report.failures["mail"].type == "NotADirectoryError"
    assert tree.manifest("mail", "mail-0").exists()
    assert tree.manifest("mail", "mail-2").exists()


def test_an_invalid_manifest_is_set_aside_and_written_from_the_snapshot(tree: Tree) -> None:
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


def test_nuls_behind_a_manifest_are_cut_off(tree: Tree) -> None:
    run = stringify(make_run("mail", 9)).encode()
    tree.manifest("mail", "mail-9").parent.mkdir()
    tree.manifest("mail", "mail-9").write_bytes(run + bytes(500))
    assert repair(tree).exit_code == 0
    assert tree.manifest("mail", "mail-9").read_bytes() == run
    assert tree.read("mail")["runs"][-1] == make_run("mail", 9)


def test_a_manifest_that_others_have_just_written_is_kept(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.manifest("mail", "mail-0").unlink()
    tree.manifest("mail", "mail-1").write_text(stringify(make_run("mail", 1, notes="old")))
    newer = {number: stringify(make_run("mail", number, notes="newest")) for number in (0, 1)}
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
