"""The proof: what makes two trees different, and how that is shown."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from batchpersist.compare.trees import LISTED, Proof, compare_trees, digest_tree

HISTORY = "".join(f'{{\n  "runId": "run-{number}"\n}},\n' for number in range(2_000))


@pytest.fixture
def left(tmp_path: Path) -> Path:
    root = tmp_path / "left"
    (root / "out" / "a").mkdir(parents=True)
    (root / "out" / "a" / "runs.json").write_text(HISTORY)
    (root / "runs" / "a" / "r1").mkdir(parents=True)
    (root / "runs" / "a" / "r1" / "manifest.json").write_text("{}")
    (root / "link").symlink_to("out")
    return root


@pytest.fixture
def right(left: Path) -> Path:
    shutil.copytree(left, left.parent / "right", symlinks=True)
    return left.parent / "right"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


CHANGES: list[tuple[Callable[[Path], object], list[tuple[str, str]]]] = [
    (lambda r: (r / "runs/a/r1/manifest.json").unlink(), [("runs/a/r1/manifest.json", "missing")]),
    (lambda r: (r / "runs/a/r1/manifest.json.tmp-1").touch(), [("runs/a/r1/manifest.json.tmp-1", "extra")]),
    (lambda r: (r / "runs/a.lock").touch(), [("runs/a.lock", "extra")]),
    (lambda r: (r / "out/b").mkdir(), [("out/b", "extra")]),
    (lambda r: (r / "runs/a/r1/manifest.json").write_text("{ }"), [("runs/a/r1/manifest.json", "content")]),
    (lambda r: (r / "runs/a/r1/manifest.json").write_text("{}\n"), [("runs/a/r1/manifest.json", "content")]),
    (lambda r: (r / "runs/a/r1/manifest.json").chmod(0o600), [("runs/a/r1/manifest.json", "mode")]),
    (lambda r: (r / "runs/a").chmod(0o700), [("runs/a", "mode")]),
    (lambda r: ((r / "link").unlink(), (r / "link").symlink_to("runs")), [("link", "content")]),
    (lambda r: ((r / "link").unlink(), (r / "link").mkdir()), [("link", "mode")]),
    (
        lambda r: (r / "runs/a/r1/manifest.json").rename(r / "runs/a/r1/manifest"),
        [("runs/a/r1/manifest", "extra"), ("runs/a/r1/manifest.json", "missing")],
    ),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_every_kind_of_difference_changes_the_digest_and_is_named(
    left: Path, right: Path, change: Callable[[Path], object], expected: list[tuple[str, str]]
) -> None:
    assert digest_tree(str(left)) == digest_tree(str(right))
    change(right)
    assert digest_tree(str(left))[0] != digest_tree(str(right))[0]
    assert [(found.path, found.kind) for found in compare_trees(str(left), str(right))] == expected


def test_batchpersist_s_own_folder_and_the_times_do_not_count(left: Path, right: Path) -> None:
    (right / "runs" / ".batchpersist").mkdir()
    (right / "runs" / ".batchpersist" / "batch.lock").touch()
    os.utime(right / "out" / "a" / "runs.json", (0, 0))
    assert digest_tree(str(left)) == digest_tree(str(right)) == (digest_tree(str(left))[0], 2)
    assert list(compare_trees(str(left), str(right))) == []


def test_names_do_not_run_together(tmp_path: Path) -> None:
    for root, name, content in (("x", "ab", "c"), ("y", "a", "bc")):
        (tmp_path / root).mkdir()
        (tmp_path / root / name).write_text(content)
    assert digest_tree(str(tmp_path / "x"))[0] != digest_tree(str(tmp_path / "y"))[0]


def test_the_diff_shows_the_first_place_of_a_long_history(left: Path, right: Path) -> None:
    edit(right / "out/a/runs.json", '"run-1500"', '"run-1500x"')
    (found,) = compare_trees(str(left), str(right))
    assert found.diff[0] == "@@ line 4502 @@"
    assert '-  "runId": "run-1500"' in found.diff
    assert '+  "runId": "run-1500x"' in found.diff
    assert len(found.diff) < 40


def test_the_diff_shows_a_missing_newline_and_no_control_characters(left: Path, right: Path) -> None:
    manifest = Path("runs/a/r1/manifest.json")
    (left / manifest).write_bytes(b"a\x1b[31m\xff\nb\n")
    (right / manifest).write_bytes(b"a\x1b[31m\xff\nb")
    (found,) = compare_trees(str(left), str(right))
    assert found.diff == ["@@ line 2 @@", " a\\x1b[31m\\xff", "-b", "+b  (no newline at the end)"]


def test_a_line_without_end_is_cut(left: Path, right: Path) -> None:
    manifest = Path("runs/a/r1/manifest.json")
    (left / manifest).write_text("x" * 1_000_000)
    (right / manifest).write_text("x" * 500_000 + "y" + "x" * 499_999)
    (found,) = compare_trees(str(left), str(right))
    assert sum(map(len, found.diff)) < 10_000


def test_modes_are_shown_as_by_ls(left: Path, right: Path) -> None:
    (right / "runs/a/r1/manifest.json").chmod(0o600)
    (found,) = compare_trees(str(left), str(right))
    assert found.diff[1] == "+-rw-------"


def test_the_proof_keeps_the_first_tree_and_names_who_wrote_another(
    tmp_path: Path, left: Path, right: Path
) -> None:
    proof = Proof(str(tmp_path / "reference"))
    shutil.copytree(right, tmp_path / "third", symlinks=True)
    proof.check(str(left), "sequential", 0)
    assert not left.exists()
    proof.check(str(right), "grouped-1", 0)
    assert proof.is_equal
    edit(tmp_path / "third" / "out/a/runs.json", '"run-7"', '"run-8"')
    proof.check(str(tmp_path / "third"), "grouped-2", 1)
    proof.check(str(tmp_path / "third"), "grouped-2", 2)
    document = msgspec.to_builtins(proof.as_document())
    assert not proof.is_equal
    assert (document["equal"], document["trees"], document["files"]) == (False, 4, 2)
    (found,) = document["differences"]
    assert (found["path"], found["variant"], found["round"]) == ("out/a/runs.json", "grouped-2", 1)


def test_very_many_differences_are_counted(tmp_path: Path, left: Path, right: Path) -> None:
    for number in range(LISTED + 5):
        (right / f"file-{number}").touch()
    proof = Proof(str(tmp_path / "reference"))
    proof.check(str(left), "a", 0)
    proof.check(str(right), "b", 0)
    assert len(proof.as_document().differences) == LISTED
    assert proof.as_document().differences_omitted == 5
