"""The check of one task: its snapshot, its manifests, and what is in their place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.audits import audit, summarize
from support.drift import Tree
from support.model import stringify

from batchpersist.models import Keys


def test_keys_may_have_other_names(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    run = {"job": "nightly", "id": "one", "at": "2026-01-01", "taskId": "misleading"}
    tree.manifest("nightly", "one").parent.mkdir(parents=True)
    tree.manifest("nightly", "one").write_text(stringify(run))
    tree.snapshot("nightly").parent.mkdir(parents=True)
    tree.write("nightly", {"taskId": "nightly", "lastRunAt": run["at"], "runs": [run]})
    assert audit(tree, keys=Keys("job", "id", "at"))[1] == []
    assert summarize(audit(tree)[1]) == [
        ("lacks-keys", "nightly", ""),
        ("lacks-keys", "nightly", "one"),
    ]


def test_an_entry_of_another_task_has_a_wrong_id(tree: Tree) -> None:
    snapshot = tree.read("mail")
    snapshot["runs"][1]["taskId"] = "search"
    tree.write("mail", snapshot)
    _, findings, signs = audit(tree)
    assert summarize(findings) == [("wrong-id", "mail", "mail-1")]
    assert signs["mail", "mail-1"] == "!"


def test_unsafe_names_are_reported_and_not_followed(tree: Tree) -> None:
    for path in (tree.runs / "a:b", tree.out / "c ", tree.runs / "mail" / "NUL"):
        path.mkdir()
    snapshot = tree.read("mail")
    snapshot["runs"][3]["runId"] = "../../search/search-0"
    tree.write("mail", snapshot)
    _, findings, _ = audit(tree)
    assert summarize(findings) == [
        ("missing-in-snapshot", "mail", "mail-3"),
        ("unsafe-name", "", ""),
        ("unsafe-name", "", ""),
        ("unsafe-name", "mail", ""),
        ("unsafe-name", "mail", "../../search/search-0"),
    ]


def test_links_and_pipes_are_reported_and_not_followed(tree: Tree) -> None:
    elsewhere = tree.root / "elsewhere"
    shutil.move(tree.runs / "mail" / "mail-0", elsewhere)
    (tree.runs / "mail" / "mail-0").symlink_to(elsewhere)
    tree.manifest("mail", "mail-1").unlink()
    os.mkfifo(tree.manifest("mail", "mail-1"))
    tree.manifest("mail", "mail-2").rename(elsewhere / "other.json")
    tree.manifest("mail", "mail-2").symlink_to(elsewhere / "other.json")
    shutil.move(tree.out / "search", tree.root / "search")
    (tree.out / "search").symlink_to(tree.root / "search")
    tree.snapshot("billing").rename(tree.root / "billing.json")
    tree.snapshot("billing").symlink_to(tree.root / "billing.json")
    report, findings, signs = audit(tree)
    assert summarize(findings) == [
        ("wrong-file-type", "billing", ""),
        ("wrong-file-type", "mail", "mail-0"),
        ("wrong-file-type", "mail", "mail-1"),
        ("wrong-file-type", "mail", "mail-2"),
        ("wrong-file-type", "search", ""),
    ]
    assert {task: sign for (task, _), sign in signs.items() if task != "mail"} == {
        "billing": "!",
        "search": "!",
    }
    assert report.exit_code == 5


def test_an_unreadable_file_is_unchecked(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    real, denied = os.open, str(tree.manifest("mail", "mail-1"))

    def deny(path: str, *rest: int, **more: int) -> int:
        if path == denied:
            raise PermissionError(13, "Permission denied", path)
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", deny)
    report, findings, signs = audit(tree)
    assert summarize(findings) == [("unreadable", "mail", "mail-1")]
    assert (report.exit_code, signs["mail", "mail-1"]) == (3, "!")


def test_manifests_of_another_schema_are_not_a_difference(tree: Tree) -> None:
    (tree.runs / "mail" / "cli" / "build-1").mkdir(parents=True)
    (tree.runs / "mail" / "cli" / "build-1" / "manifest.json").write_text("{}")
    (tree.runs / "mail" / "empty").mkdir()
    assert audit(tree)[1] == []


def test_foreign_files_beside_a_manifest_are_one_finding_a_folder(tree: Tree) -> None:
    for number in range(5):
        (tree.runs / "mail" / "mail-0" / f"log-{number}.txt").write_text("")
    report, findings, _ = audit(tree)
    assert summarize(findings) == [("foreign-file", "mail", "mail-0")]
    assert findings[0].detail == "and 4 more in this folder"
    assert report.exit_code == 0
