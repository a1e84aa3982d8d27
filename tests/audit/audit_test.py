from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model import stringify
from support.drift import DRIFTS, TASKS, Tree, a_run, expected
from temporaries_test import left_by

from batchpersist.audit import AuditOptions, AuditReport, Finding, Kind, Sign, audit_root, confirm, tasks
from batchpersist.audit.files import WrongFileTypeError
from batchpersist.errors import RootMissingError, SourceMissingError, UsageError
from batchpersist.layout import Layout
from batchpersist.locking.locks import TaskLock
from batchpersist.models import Keys

Signs = dict[tuple[str, str], str]
Step = tuple[object, str, int, int]

STEPS = st.lists(
    st.tuples(st.sampled_from(DRIFTS), st.sampled_from(TASKS), st.integers(0, 7), st.integers(0, 4000)),
    max_size=6,
)


def audit(tree: Tree, *sources: Path, **how: object) -> tuple[AuditReport, list[Finding], Signs]:
    options = AuditOptions(str(tree.out), str(tree.runs), **{"pause_seconds": 0.0, **how})  # type: ignore[arg-type]
    findings: list[Finding] = []
    signs: Signs = {}

    def signed(sign: Sign, task_id: str, run_id: str) -> None:
        assert (task_id, run_id) not in signs
        signs[task_id, run_id] = sign.value

    report = audit_root(options, list(map(str, sources)), on_finding=findings.append, on_run=signed)
    assert report.counts.total() == len(findings)
    return report, findings, signs


def short(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return sorted((finding.kind.value, finding.task_id, finding.run_id) for finding in findings)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path).fill()


def test_what_was_persisted_does_not_differ(tree: Tree) -> None:
    report, findings, signs = audit(tree)
    assert (report.exit_code, report.tasks, report.runs, findings) == (0, 3, 12, [])
    assert set(signs.values()) == {"="}


def test_a_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    for name in ("out", "runs"):
        with pytest.raises(RootMissingError, match=f"there is no folder .*{name}"):
            audit(Tree(tmp_path))
        (tmp_path / name).mkdir()
    assert audit(Tree(tmp_path))[0].is_empty


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_it_finds_what_a_slow_and_obvious_audit_finds(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder)).fill()
        for drift, task, at, byte in steps:
            drift(tree, task, at, byte)  # type: ignore[operator]
        found, signs = expected(tree)
        report, findings, signed = audit(tree)
    assert set(short(findings)) == found
    assert signed == signs
    differences = any(finding.kind.weight.value == "difference" for finding in findings)
    assert report.exit_code == (5 if differences else 0)


def test_a_pool_and_a_task_in_shares_find_the_same(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for drift in DRIFTS:
        for task in TASKS[:2]:
            drift(tree, task, 1, 5)
    alone, in_pool = audit(tree), audit(tree, workers=2, pool_runs=0)
    monkeypatch.setattr(tasks, "HOT_BYTES", 500)
    shared = audit(tree, workers=2, pool_runs=0)
    assert len(list(tasks.shares_of("mail", 2000, 2))) == 4
    for other in (in_pool, shared):
        assert short(other[1]) == short(alone[1])
        assert other[2] == alone[2]
        assert (other[0].tasks, other[0].runs) == (alone[0].tasks, alone[0].runs)


def source_of(tree: Tree, *runs: dict[str, object]) -> Path:
    path = tree.root / "source.jsonl"
    path.write_text("".join(json.dumps(run) + "\n" for run in runs))
    return path


def test_sources_are_compared_with_both(tree: Tree) -> None:
    known = [a_run("mail", 0), a_run("mail", 1, notes="of the source"), a_run("new", 0), a_run("mail", 2)]
    source = source_of(tree, a_run("mail", 0, notes="superseded"), *known)
    tree.manifest("mail", "mail-2").write_text(stringify(a_run("mail", 2, notes="other")))
    report, findings, signs = audit(tree, source)
    assert short(findings) == [
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


def test_what_is_no_run_in_a_source_was_not_checked(tree: Tree) -> None:
    source = source_of(tree, a_run("mail", 0), {"taskId": "mail"})
    report, findings, _ = audit(tree, source)
    assert short(findings) == [("invalid-source", "", "")]
    assert findings[0].path.endswith("source.jsonl:2")
    assert report.exit_code == 3


def test_a_missing_source_is_an_error(tree: Tree) -> None:
    with pytest.raises(SourceMissingError):
        audit(tree, tree.root / "nowhere")


def test_one_folder_cannot_be_both_roots(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two folders"):
        AuditOptions(str(tmp_path), str(tmp_path))


def test_only_the_tasks_that_match_are_looked_at(tree: Tree) -> None:
    for task in TASKS:
        tree.manifest(task, f"{task}-0").unlink()
    source = source_of(tree, a_run("mail", 9), a_run("search", 9))
    report, findings, _ = audit(tree, source, tasks=("m*",))
    assert short(findings) == [("missing-manifest", "mail", "mail-0"), ("not-persisted", "mail", "mail-9")]
    assert report.tasks == 1


def test_other_names_of_the_keys(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    run = {"job": "nightly", "id": "one", "at": "2026-01-01", "taskId": "misleading"}
    tree.manifest("nightly", "one").parent.mkdir(parents=True)
    tree.manifest("nightly", "one").write_text(stringify(run))
    tree.snapshot("nightly").parent.mkdir(parents=True)
    tree.write("nightly", {"taskId": "nightly", "lastRunAt": run["at"], "runs": [run]})
    assert audit(tree, keys=Keys("job", "id", "at"))[1] == []
    assert short(audit(tree)[1]) == [
        ("lacks-keys", "nightly", ""),
        ("lacks-keys", "nightly", "one"),
    ]


def test_an_entry_of_another_task(tree: Tree) -> None:
    snapshot = tree.read("mail")
    snapshot["runs"][1]["taskId"] = "search"
    tree.write("mail", snapshot)
    _, findings, signs = audit(tree)
    assert short(findings) == [("wrong-id", "mail", "mail-1")]
    assert signs["mail", "mail-1"] == "!"


def test_unsafe_names_are_told_and_not_followed(tree: Tree) -> None:
    for path in (tree.runs / "a:b", tree.out / "c ", tree.runs / "mail" / "NUL"):
        path.mkdir()
    snapshot = tree.read("mail")
    snapshot["runs"][3]["runId"] = "../../search/search-0"
    tree.write("mail", snapshot)
    _, findings, _ = audit(tree)
    assert short(findings) == [
        ("missing-in-snapshot", "mail", "mail-3"),
        ("unsafe-name", "", ""),
        ("unsafe-name", "", ""),
        ("unsafe-name", "mail", ""),
        ("unsafe-name", "mail", "../../search/search-0"),
    ]


def test_links_and_pipes_are_told_and_not_followed(tree: Tree) -> None:
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
    assert short(findings) == [
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


def test_a_file_that_cannot_be_read_was_not_checked(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    real, denied = os.open, str(tree.manifest("mail", "mail-1"))

    def deny(path: str, *rest: int, **more: int) -> int:
        if path == denied:
            raise PermissionError(13, "Permission denied", path)
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", deny)
    report, findings, signs = audit(tree)
    assert short(findings) == [("unreadable", "mail", "mail-1")]
    assert (report.exit_code, signs["mail", "mail-1"]) == (3, "!")


def test_manifests_of_another_schema_are_nobody_s_difference(tree: Tree) -> None:
    (tree.runs / "mail" / "cli" / "build-1").mkdir(parents=True)
    (tree.runs / "mail" / "cli" / "build-1" / "manifest.json").write_text("{}")
    (tree.runs / "mail" / "empty").mkdir()
    assert audit(tree)[1] == []


def test_files_of_an_orchestrator_beside_a_manifest_are_one_finding_a_folder(tree: Tree) -> None:
    for number in range(5):
        (tree.runs / "mail" / "mail-0" / f"log-{number}.txt").write_text("")
    report, findings, _ = audit(tree)
    assert short(findings) == [("foreign-file", "mail", "mail-0")]
    assert findings[0].detail == "and 4 more in this folder"
    assert report.exit_code == 0


def test_temporaries_and_locks_of_the_living_are_no_finding(tree: Tree) -> None:
    left, process = left_by(tree.snapshot("mail"), alive=True)
    with TaskLock(Layout(str(tree.out), str(tree.runs)), "mail"):
        assert audit(tree)[1] == []
    process.kill()
    process.communicate()
    assert [finding.path for finding in audit(tree)[1]] == [str(left)]


def test_what_is_about_to_be_written_is_no_difference(tree: Tree) -> None:
    """Both sides of a run settle within the pause; another difference stays."""
    run = a_run("mail", 8)
    tree.manifest("mail", "mail-8").parent.mkdir()
    tree.manifest("mail", "mail-8").write_text(stringify(run)[:30])
    tree.manifest("mail", "mail-3").unlink()

    def finish() -> None:
        tree.manifest("mail", "mail-8").write_text(stringify(run))
        tree.write("mail", with_run(tree.read("mail"), run))

    timer = threading.Timer(0.3, finish)
    timer.start()
    _, findings, signs = audit(tree, pause_seconds=0.8)
    timer.join()
    assert short(findings) == [("missing-manifest", "mail", "mail-3")]
    assert (signs["mail", "mail-8"], signs["mail", "mail-3"]) == ("=", "-")


def test_a_run_that_changes_between_the_looks_is_no_difference(tree: Tree) -> None:
    path = tree.manifest("mail", "mail-1")
    path.write_text(stringify(a_run("mail", 1, notes="one")))
    timer = threading.Timer(0.3, path.write_text, [stringify(a_run("mail", 1, notes="two"))])
    timer.start()
    assert audit(tree, pause_seconds=0.8)[1] == []
    timer.join()
    assert short(audit(tree)[1]) == [("content-differs", "mail", "mail-1")]


def test_the_second_look_waits_for_a_held_lock(tree: Tree) -> None:
    run = a_run("mail", 8)
    tree.manifest("mail", "mail-8").parent.mkdir()
    tree.manifest("mail", "mail-8").write_text(stringify(run))
    lock = TaskLock(Layout(str(tree.out), str(tree.runs)), "mail")
    lock.acquire()

    def finish() -> None:
        time.sleep(0.5)
        tree.write("mail", with_run(tree.read("mail"), run))
        lock.release()

    thread = threading.Thread(target=finish)
    thread.start()
    assert audit(tree)[1] == []
    thread.join()


def with_run(snapshot: dict[str, object], run: dict[str, object]) -> dict[str, object]:
    runs = [*snapshot["runs"], run]  # type: ignore[misc]
    return {**snapshot, "runs": runs, "lastRunAt": run["timestamp"]}


def test_nothing_is_written_and_nothing_is_locked(tree: Tree) -> None:
    for drift in DRIFTS:
        drift(tree, "mail", 1, 5)
    before = {path: path.stat() for path in tree.root.rglob("*")}
    audit(tree, source_of(tree, a_run("mail", 0)))
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


def kill_one_worker(killed: list[int]) -> None:
    """The first time that there is one."""
    for child in multiprocessing.active_children() if not killed else ():
        if child.pid:
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)
            return


def test_a_worker_that_dies_costs_no_finding(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "SHARD_TASKS", 1)
    for number in range(10):
        tree.fill(range(4), [f"task-{number}"])
        tree.manifest(f"task-{number}", f"task-{number}-0").unlink()
    killed: list[int] = []
    options = AuditOptions(str(tree.out), str(tree.runs), workers=2, pool_runs=0, pause_seconds=0)
    report = audit_root(options, on_event=lambda _event: kill_one_worker(killed))
    assert killed
    assert report.counts == {Kind.MISSING_MANIFEST: 10}


def test_what_was_found_waits_in_bounds_for_its_second_look(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm, "MOST_HELD", 3)
    monkeypatch.setattr(tasks, "SHARD_TASKS", 1)
    for task in TASKS:
        for number in (0, 1):
            tree.manifest(task, f"{task}-{number}").unlink()
    report, findings, signs = audit(tree)
    assert report.counts == {Kind.MISSING_MANIFEST: 6}
    assert len(set(findings)) == 6
    assert sorted(signs.values()) == ["-"] * 6 + ["="] * 6


def test_the_roots_themselves_may_be_links(tree: Tree) -> None:
    linked = Tree(tree.root / "linked")
    linked.root.mkdir()
    linked.out.symlink_to(tree.out)
    linked.runs.symlink_to(tree.runs)
    assert audit(linked)[0].runs == 12


def test_a_root_that_is_a_file_is_an_error(tree: Tree) -> None:
    shutil.rmtree(tree.out)
    tree.out.write_text("")
    with pytest.raises(WrongFileTypeError):
        audit(tree)


def test_names_that_are_no_utf_8(tree: Tree) -> None:
    for folder in (tree.out, tree.runs / "mail", tree.runs / "mail" / "mail-0"):
        with open(os.fsencode(folder) + b"/\xff", "wb"):
            pass
    (tree.runs / os.fsdecode(b"\xfe")).mkdir()
    _, findings, _ = audit(tree)
    assert [kind for kind, _, _ in short(findings)] == ["foreign-file"] * 3 + ["unsafe-name"]


def test_what_the_dead_left_in_our_own_folder(tree: Tree) -> None:
    own = tree.runs / ".batchpersist"
    (own / "locks").mkdir(parents=True)
    left, _ = left_by(own / "locks" / "owner", alive=False)
    other, _ = left_by(own / "batch.lock.json", alive=False)
    (own / "elsewhere").symlink_to(tree.root)
    assert sorted(finding.path for finding in audit(tree)[1]) == sorted([str(other), str(left)])
