"""Copies of what a repair replaces."""

from __future__ import annotations

from pathlib import Path

from support.drift import Tree, make_run
from support.model import stringify
from support.repairs import kept, options, repair

from batchpersist.audit import Finding
from batchpersist.repair import repair_root


def test_copies_are_kept_until_the_next_repair_and_set_aside_files_for_good(tree: Tree) -> None:
    tree.manifest("mail", "mail-0").write_text("{")
    tree.manifest("search", "search-0").write_text(stringify(make_run("search", 0, notes="other")))
    first = repair(tree, "snapshot")
    assert sorted(name.partition("/")[0] for name in kept(first)) == ["replaced", "set-aside"]
    assert repair(tree).folder is None
    assert len(kept(first)) == 2, "there was nothing to replace"
    tree.manifest("search", "search-0").write_text(stringify(make_run("search", 0, notes="other")))
    second = repair(tree, "snapshot")
    assert list(kept(first)) == ["set-aside/runs/mail/mail-0/manifest.json"]
    tree.manifest("search", "search-0").write_text(stringify(make_run("search", 0, notes="other")))
    repair(tree, "snapshot")
    assert second.folder is not None
    assert not Path(second.folder).exists()


def test_copies_of_an_interrupted_repair_are_kept_until_a_later_one_has_finished(tree: Tree) -> None:
    for task in ("mail", "search"):
        tree.manifest(task, f"{task}-0").write_text(stringify(make_run(task, 0, notes="other")))
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
    tree.manifest("mail", "mail-0").write_text(stringify(make_run("mail", 0, notes="other")))
    repair(tree, "snapshot")
    assert half.folder is not None
    assert not Path(half.folder).exists()


def test_copies_of_further_rounds_do_not_replace_those_of_the_first(tree: Tree) -> None:
    """A second entry of a run goes in the first round; then a run comes back that was misplaced."""
    snapshot = tree.read("billing")
    tree.write("billing", {**snapshot, "runs": [make_run("billing", 0, notes="alone"), *snapshot["runs"]]})
    before = tree.snapshot("billing").read_bytes()
    tree.manifest("mail", "misplaced").parent.mkdir()
    tree.manifest("mail", "misplaced").write_text(stringify(make_run("billing", 7)))
    report = repair(tree)
    assert report.exit_code == 0
    assert kept(report)["replaced/out/billing/runs.json"] == before
    assert b"alone" not in kept(report)["replaced/out/billing/runs.2.json"]
