"""The repair of snapshots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.drift import Tree, make_run, read_json
from support.model import record, stringify
from support.repairs import kept, repair

from batchpersist.repair.backup import Backup


def test_a_snapshot_is_as_if_its_runs_had_been_recorded_in_turn(tree: Tree) -> None:
    """Unsorted, with runs that come twice, and without one that has a manifest."""
    runs = [make_run("mail", number) for number in (3, 1, 2, 1, 0)]
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
    assert read_json(tree.manifest("mail", "mail-1"))["notes"] == "later"
    assert kept(report) == {"replaced/out/mail/runs.json": before}


def test_repeated_entry_with_the_manifest_s_content_is_kept(tree: Tree) -> None:
    snapshot = tree.read("mail")
    snapshot["runs"].append({**make_run("mail", 3), "notes": "later"})
    tree.write("mail", snapshot)
    assert repair(tree).exit_code == 0
    assert tree.read("mail")["runs"] == [make_run("mail", number) for number in range(4)]


def test_a_torn_snapshot_is_set_aside_and_its_complete_entries_are_recovered(tree: Tree) -> None:
    whole = tree.snapshot("mail").read_bytes()
    for number in (1, 2):
        tree.manifest("mail", f"mail-{number}").unlink()
    torn = whole[: whole.index(b"mail-3") + 3] + bytes(1000)
    tree.snapshot("mail").write_bytes(torn)
    report = repair(tree)
    assert report.exit_code == 0
    assert tree.snapshot("mail").read_bytes() == whole
    assert kept(report) == {"set-aside/out/mail/runs.json": torn}
    assert read_json(tree.manifest("mail", "mail-2")) == make_run("mail", 2)


def test_entries_behind_a_damaged_place_are_recovered_too(tree: Tree) -> None:
    whole = tree.snapshot("mail").read_bytes()
    for number in range(4):
        tree.manifest("mail", f"mail-{number}").unlink()
    tree.snapshot("mail").write_bytes(whole.replace(b'"notes": "\xc3\xa91"', b'"notes": "\x00\x00'))
    assert repair(tree).exit_code == 0
    assert [run["runId"] for run in tree.read("mail")["runs"]] == ["mail-0", "mail-2", "mail-3"]


def test_a_torn_snapshot_in_another_layout_is_recovered_up_to_the_tear(tree: Tree) -> None:
    text = json.dumps(tree.read("mail"))
    for number in range(4):
        tree.manifest("mail", f"mail-{number}").unlink()
    tree.snapshot("mail").write_text(text[: text.index("mail-2")])
    assert repair(tree).exit_code == 0
    assert tree.read("mail")["runs"] == [make_run("mail", 0), make_run("mail", 1)]


def test_other_list_named_runs_is_not_recovered(tree: Tree) -> None:
    text = json.dumps({"note": {"runs": [1]}} | tree.read("mail"))
    for number in range(4):
        tree.manifest("mail", f"mail-{number}").unlink()
    tree.snapshot("mail").write_text(text[: text.index("mail-2")])
    assert repair(tree).exit_code == 0
    assert tree.read("mail")["runs"] == [make_run("mail", 0), make_run("mail", 1)]


@pytest.mark.parametrize("content", [b"", b"not JSON", b"[]", b'{"taskId":"mail","runs":{}}'])
def test_unrecoverable_snapshot_is_rebuilt_from_manifests(tree: Tree, content: bytes) -> None:
    whole = tree.read("mail")
    tree.snapshot("mail").write_bytes(content)
    report = repair(tree)
    assert report.exit_code == 0
    assert tree.read("mail") == whole
    assert kept(report) == {"set-aside/out/mail/runs.json": content}


def test_a_damaged_snapshot_of_a_task_without_runs_is_only_set_aside(tmp_path: Path) -> None:
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
    tree.manifest("mail", "mail-9").write_text(stringify(make_run("mail", 9)))
    assert repair(tree).exit_code == 0
    assert [run["runId"] for run in tree.read("mail")["runs"]] == [f"mail-{n}" for n in (0, 1, 2, 3, 9)]
    assert legacy.read_bytes() == content
    tree.snapshot("mail").write_bytes(b"{")
    for number in range(4):
        tree.manifest("mail", f"mail-{number}").unlink()
    assert repair(tree).exit_code == 0
    assert len(tree.read("mail")["runs"]) == 5


def test_other_writers_between_check_and_rename_lose_nothing(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that a new snapshot is ready, another run has been recorded in the old one."""
    tree.manifest("mail", "mail-9").parent.mkdir()
    tree.manifest("mail", "mail-9").write_text(stringify(make_run("mail", 9)))
    real, times = Backup.add, []

    def add(self: Backup, path: str, *rest: Any, **more: Any) -> None:
        real(self, path, *rest, **more)
        if len(times) < 3:
            times.append(path)
            tree.fill([10 + len(times)], ["mail"])

    monkeypatch.setattr(Backup, "add", add)
    assert repair(tree).exit_code == 0
    assert len(times) == 3
    assert {run["runId"] for run in tree.read("mail")["runs"]} == {
        f"mail-{number}" for number in (0, 1, 2, 3, 9, 11, 12, 13)
    }
