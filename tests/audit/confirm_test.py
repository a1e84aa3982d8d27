"""The second check, which confirms what the first one found."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from support.audits import audit, summarize
from support.drift import TASKS, Tree, make_run
from support.model import stringify

from batchpersist.audit import FindingKind, confirm, tasks
from batchpersist.locks.task_lock import TaskLock
from batchpersist.paths import Layout


def test_a_run_that_is_being_written_is_not_a_difference(tree: Tree) -> None:
    """Both sides of a run settle within the pause; another difference stays."""
    run = make_run("mail", 8)
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
    assert summarize(findings) == [("missing-manifest", "mail", "mail-3")]
    assert (signs["mail", "mail-8"], signs["mail", "mail-3"]) == ("=", "-")


def test_a_run_that_changes_between_the_checks_is_not_a_difference(tree: Tree) -> None:
    path = tree.manifest("mail", "mail-1")
    path.write_text(stringify(make_run("mail", 1, notes="one")))
    timer = threading.Timer(0.3, path.write_text, [stringify(make_run("mail", 1, notes="two"))])
    timer.start()
    assert audit(tree, pause_seconds=0.8)[1] == []
    timer.join()
    assert summarize(audit(tree)[1]) == [("content-differs", "mail", "mail-1")]


def test_the_log_names_findings_that_were_not_confirmed(tree: Tree, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run("mail", 8)
    tree.manifest("mail", "mail-8").parent.mkdir()
    tree.manifest("mail", "mail-8").write_text(stringify(run))
    timer = threading.Timer(0.3, lambda: tree.write("mail", with_run(tree.read("mail"), run)))
    timer.start()
    with caplog.at_level(logging.DEBUG, "batchpersist.audit"):
        assert audit(tree, pause_seconds=0.8)[1] == []
    timer.join()
    assert caplog.messages == [
        "mail/mail-8: not reported as missing-in-snapshot: the second check did not see the same"
    ]


def test_the_second_check_waits_for_a_held_lock(tree: Tree) -> None:
    run = make_run("mail", 8)
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


def test_a_bounded_number_of_findings_waits_for_the_second_check(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm, "MAX_HELD", 3)
    monkeypatch.setattr(tasks, "SHARD_TASKS", 1)
    for task in TASKS:
        for number in (0, 1):
            tree.manifest(task, f"{task}-{number}").unlink()
    report, findings, signs = audit(tree)
    assert report.counts == {FindingKind.MISSING_MANIFEST: 6}
    assert len(set(findings)) == 6
    assert sorted(signs.values()) == ["-"] * 6 + ["="] * 6
