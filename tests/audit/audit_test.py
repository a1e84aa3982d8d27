"""An audit as a whole: what it compares, and what it finds in roots that have drifted."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audits import audit, summarize
from support.drift import DRIFTS, TASKS, Tree, make_run, slow_audit
from support.model import stringify

from batchpersist.audit import AuditOptions
from batchpersist.errors import RootMissingError, SourceMissingError, UsageError

Step = tuple[object, str, int, int]


STEPS = st.lists(
    st.tuples(st.sampled_from(DRIFTS), st.sampled_from(TASKS), st.integers(0, 7), st.integers(0, 4000)),
    max_size=6,
)


def test_a_persisted_root_has_no_difference(tree: Tree) -> None:
    report, findings, signs = audit(tree)
    assert (report.exit_code, report.tasks, report.runs, findings) == (0, 3, 12, [])
    assert set(signs.values()) == {"="}


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    for name in ("out", "runs"):
        with pytest.raises(RootMissingError, match=f"there is no folder .*{name}"):
            audit(Tree(tmp_path))
        (tmp_path / name).mkdir()
    assert audit(Tree(tmp_path))[0].is_empty


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_an_audit_finds_what_a_slow_and_obvious_one_finds(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder)).fill()
        for drift, task, at, byte in steps:
            drift(tree, task, at, byte)  # type: ignore[operator]
        found, signs = slow_audit(tree)
        report, findings, signed = audit(tree)
    assert set(summarize(findings)) == found
    assert signed == signs
    differences = any(finding.kind.severity.value == "difference" for finding in findings)
    assert report.exit_code == (5 if differences else 0)


def source_of(tree: Tree, *runs: dict[str, object]) -> Path:
    path = tree.root / "source.jsonl"
    path.write_text("".join(json.dumps(run) + "\n" for run in runs))
    return path


def test_sources_are_compared_with_snapshot_and_manifest(tree: Tree) -> None:
    known = [
        make_run("mail", 0),
        make_run("mail", 1, notes="of the source"),
        make_run("new", 0),
        make_run("mail", 2),
    ]
    source = source_of(tree, make_run("mail", 0, notes="superseded"), *known)
    tree.manifest("mail", "mail-2").write_text(stringify(make_run("mail", 2, notes="other")))
    report, findings, signs = audit(tree, source)
    assert summarize(findings) == [
        ("content-differs", "mail", "mail-1"),
        ("content-differs", "mail", "mail-2"),
        ("not-persisted", "new", "new-0"),
    ]
    words = {finding.run_id: finding.detail for finding in findings}
    assert words["mail-1"] == "source differs from snapshot and manifest"
    assert words["mail-2"] == "manifest differs from source and snapshot"
    assert [signs["mail", f"mail-{number}"] for number in range(4)] == ["=", "*", "*", "="]
    assert signs["new", "new-0"] == "+"
    assert report.runs == 13


def test_an_invalid_input_in_a_source_is_unchecked(tree: Tree) -> None:
    source = source_of(tree, make_run("mail", 0), {"taskId": "mail"})
    report, findings, _ = audit(tree, source)
    assert summarize(findings) == [("invalid-source", "", "")]
    assert findings[0].path.endswith("source.jsonl:2")
    assert report.exit_code == 3


def test_a_missing_source_is_an_error(tree: Tree) -> None:
    with pytest.raises(SourceMissingError):
        audit(tree, tree.root / "nowhere")


def test_one_folder_cannot_be_both_roots(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two folders"):
        AuditOptions(str(tmp_path), str(tmp_path))


def test_only_selected_tasks_are_checked(tree: Tree) -> None:
    for task in TASKS:
        tree.manifest(task, f"{task}-0").unlink()
    source = source_of(tree, make_run("mail", 9), make_run("search", 9))
    report, findings, _ = audit(tree, source, tasks=("m*",))
    assert summarize(findings) == [
        ("missing-manifest", "mail", "mail-0"),
        ("not-persisted", "mail", "mail-9"),
    ]
    assert report.tasks == 1


def test_an_audit_writes_and_locks_nothing(tree: Tree) -> None:
    for drift in DRIFTS:
        drift(tree, "mail", 1, 5)
    before = {path: path.stat() for path in tree.root.rglob("*")}
    audit(tree, source_of(tree, make_run("mail", 0)))
    (tree.root / "source.jsonl").unlink()
    for path, status in before.items():
        now = path.stat()
        assert (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        ) or path == tree.root
    assert {*tree.root.rglob("*")} == set(before)
