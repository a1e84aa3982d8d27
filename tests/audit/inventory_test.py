"""The inventory of the roots: tasks, and what else is in them."""

from __future__ import annotations

import os
import shutil

import pytest
from support.audits import audit, summarize
from support.drift import Tree
from support.leftovers import make_temporary

from batchpersist.locks.task_lock import TaskLock
from batchpersist.paths import Layout
from batchpersist.storage.file_reader import WrongFileTypeError


def test_temporaries_and_locks_of_live_processes_are_not_findings(tree: Tree) -> None:
    left, process = make_temporary(tree.snapshot("mail"), alive=True)
    with TaskLock(Layout(str(tree.out), str(tree.runs)), "mail"):
        assert audit(tree)[1] == []
    process.kill()
    process.communicate()
    assert [finding.path for finding in audit(tree)[1]] == [str(left)]


def test_the_roots_may_be_links(tree: Tree) -> None:
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


def test_names_that_are_not_utf_8_are_reported(tree: Tree) -> None:
    for folder in (tree.out, tree.runs / "mail", tree.runs / "mail" / "mail-0"):
        with open(os.fsencode(folder) + b"/\xff", "wb"):
            pass
    (tree.runs / os.fsdecode(b"\xfe")).mkdir()
    _, findings, _ = audit(tree)
    assert [kind for kind, _, _ in summarize(findings)] == ["foreign-file"] * 3 + ["unsafe-name"]


def test_temporaries_of_dead_processes_in_the_own_folder_are_reported(tree: Tree) -> None:
    own = tree.runs / ".batchpersist"
    (own / "locks").mkdir(parents=True)
    left, _ = make_temporary(own / "locks" / "owner", alive=False)
    other, _ = make_temporary(own / "batch.lock.json", alive=False)
    (own / "elsewhere").symlink_to(tree.root)
    assert sorted(finding.path for finding in audit(tree)[1]) == sorted([str(other), str(left)])
