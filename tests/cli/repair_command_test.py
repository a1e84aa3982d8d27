"""``batchpersist repair`` as a command: its output, its exit codes, and interruptions."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.drift import Tree, make_run
from support.model import stringify

from batchpersist.audit import Finding, FindingKind, Severity
from batchpersist.cli.main import cli
from batchpersist.cli.repair import _NO_FIX
from batchpersist.locks.batch_lock import BatchLock
from batchpersist.locks.task_lock import TaskLock
from batchpersist.paths import Layout
from batchpersist.repair import RepairOptions
from batchpersist.repair.fixes import fix_for


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.chdir(tmp_path)
    return Tree(tmp_path).fill()


def command(*words: str) -> Result:
    roots = ["--runs-dir", "runs", "--pause", "0", "--progress", "none"]
    return CliRunner().invoke(cli, ["repair", *roots, *words], catch_exceptions=False)


def test_a_root_without_differences_is_exit_code_0(tree: Tree) -> None:
    for words in ((), ("--yes",)):
        result = command(*words)
        assert (result.stdout, result.exit_code) == ("Nothing to repair.\n", 0)


def test_without_yes_only_the_fixes_are_printed(tree: Tree) -> None:
    tree.manifest("mail", "mail-0").unlink()
    result = command()
    assert result.stdout.splitlines() == [
        "1 x missing-manifest: to be written, from the snapshot",
        "    mail/mail-0 (runs/mail/mail-0/manifest.json)",
        "1 of 1 finding to be repaired. Nothing was written. --yes does it.",
    ]
    assert result.exit_code == 5
    assert not tree.manifest("mail", "mail-0").exists()
    result = command("--yes")
    assert result.stdout.splitlines()[-1] == "1 finding: nothing is left."
    assert (result.exit_code, tree.manifest("mail", "mail-0").exists()) == (0, True)


def test_remaining_findings_are_printed_with_the_reason(tree: Tree) -> None:
    tree.snapshot("mail").unlink()
    tree.manifest("search", "search-0").write_text(stringify(make_run("search", 0, notes="other")))
    with TaskLock(Layout("out", "runs"), "mail"):
        result = command("--yes", "--lock-attempts", "1")
    lines = result.stdout.splitlines()
    assert "1 x content-differs: left: say which is right by --prefer, or run the source again" in lines
    assert (
        "still there: 4 x missing-in-snapshot: a manifest or a run summary, but no entry in the snapshot"
        in lines
    )
    assert any(line.startswith("failed: mail: task is locked: ") for line in lines)
    assert lines[-1] == "5 findings: 5 left."
    assert result.exit_code == 3


def test_json_has_a_line_a_finding_and_a_summary(tree: Tree) -> None:
    tree.manifest("mail", "mail-0").write_text("{")
    events = [json.loads(line) for line in command("--json", "--yes").stdout.splitlines()]
    (finding,) = [event for event in events if event["message_type"] == "finding"]
    assert (finding["kind"], finding["fix"], finding["run_id"]) == ("invalid-manifest", "rewrite", "mail-0")
    summary = events[-1]
    assert Path(summary.pop("folder")).is_dir()
    assert summary == {
        "message_type": "summary",
        "dry_run": False,
        "found": 1,
        "without_fix": 0,
        "left": {},
        "failures": {},
        "exit_code": 0,
    }


def test_a_repair_is_refused_beside_a_batch(tree: Tree) -> None:
    with BatchLock(Layout("out", "runs"), "a batch"):
        result = command("--yes")
    assert (result.exit_code, "another batch is running" in result.stderr) == (11, True)


def test_only_selected_tasks_are_repaired(tree: Tree) -> None:
    for task in ("mail", "search"):
        tree.manifest(task, f"{task}-0").unlink()
    assert command("--yes", "--task", "ma*").exit_code == 0
    assert tree.manifest("mail", "mail-0").exists()
    assert not tree.manifest("search", "search-0").exists()


def test_each_kind_has_a_fix_or_a_reason_and_is_in_the_page() -> None:
    information = {kind for kind in FindingKind if kind.severity is Severity.INFORMATION}
    of_sources = {FindingKind.NOT_PERSISTED, FindingKind.INVALID_SOURCE}  # a repair reads none
    fixed = {kind for kind in FindingKind if fix_for(Finding(kind, "t", "r", ""), RepairOptions())}
    assert set(FindingKind) == {*fixed, *_NO_FIX, *information, *of_sources}
    assert not fixed & _NO_FIX.keys()
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text("utf-8").partition("## Repair")[2]
    assert [kind.value for kind in {*fixed, *_NO_FIX} if f"`{kind.value}`" not in page] == []


def test_a_repair_interrupted_before_the_second_check_changes_nothing(tree: Tree) -> None:
    tree.manifest("mail", "mail-0").unlink()
    roots = ["--runs-dir", "runs", "--pause", "3", "--progress", "lines", "--yes"]
    words = [sys.executable, "-m", "batchpersist", "repair", *roots]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (tree.runs / ".batchpersist" / "batch.lock.json").exists():
            time.sleep(0.01)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate()
    assert (process.returncode, printed) == (143, "Interrupted before anything was repaired.\n")
    assert not tree.manifest("mail", "mail-0").exists()
