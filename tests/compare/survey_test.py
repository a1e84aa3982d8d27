"""What a comparison measures on: copies of existing histories, which never lead into the real roots."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from batchpersist.compare.scratch import remove
from batchpersist.compare.survey import copy_histories, history_size
from batchpersist.paths import Layout


@pytest.fixture
def real(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path / "out"), str(tmp_path / "runs"))
    for path in (layout.snapshot("a"), layout.legacy_state("b"), layout.manifest("a", "r1")):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_text(f"text of {os.path.basename(path)}")
    os.chmod(layout.snapshot("a"), 0o640)
    return layout


def copies(tmp_path: Path, real: Layout) -> tuple[Layout, dict[str, str]]:
    copy = Layout(str(tmp_path / "copy" / "out"), str(tmp_path / "copy" / "runs"))
    copy_histories(real, copy, ["a", "b", "none"], [("a", "r1"), ("a", "r2"), ("none", "r1")])
    root = tmp_path / "copy"
    files = (path for path in root.rglob("*") if path.is_symlink() or path.is_file())
    found = {
        path.relative_to(root).as_posix(): "-> " + os.readlink(path)
        if path.is_symlink()
        else path.read_text()
        for path in files
    }
    return copy, found


def test_only_snapshots_states_and_manifests_are_copied(tmp_path: Path, real: Layout) -> None:
    Path(real.task_lock("a")).touch()
    Path(real.task_dir("a"), "notes.txt").touch()
    copy, found = copies(tmp_path, real)
    assert found == {
        "out/a/runs.json": "text of runs.json",
        "out/b/state.json": "text of state.json",
        "runs/a/r1/manifest.json": "text of manifest.json",
    }
    assert stat.S_IMODE(os.stat(copy.snapshot("a")).st_mode) == 0o640


def test_copied_link_never_leads_to_the_real_root(tmp_path: Path, real: Layout) -> None:
    os.symlink(real.task_dir("a"), real.task_dir("none"))
    os.unlink(real.snapshot("a"))
    os.symlink(real.legacy_state("b"), real.snapshot("a"))
    copy, found = copies(tmp_path, real)
    assert os.path.islink(copy.snapshot("a"))
    assert os.path.islink(copy.task_dir("none"))
    assert not any("b/state.json" in text or real.out_dir in text for text in found.values() if "->" in text)


def test_read_only_folders_are_copied_with_their_files(tmp_path: Path, real: Layout) -> None:
    for folder in (real.task_dir("a"), real.task_runs_dir("a"), real.run_dir("a", "r1")):
        os.chmod(folder, 0o555)
    copy, found = copies(tmp_path, real)
    assert len(found) == 3
    for folder in (copy.task_dir("a"), copy.task_runs_dir("a"), copy.run_dir("a", "r1")):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o555
    for folder in (real.task_dir("a"), real.task_runs_dir("a"), real.run_dir("a", "r1")):
        os.chmod(folder, 0o755)
    remove(str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


def test_unreadable_history_is_an_error(tmp_path: Path, real: Layout) -> None:
    os.chmod(real.snapshot("a"), 0)
    if os.access(real.snapshot("a"), os.R_OK):
        pytest.skip("AS ROOT EVERYTHING CAN BE READ")
    with pytest.raises(PermissionError):
        copies(tmp_path, real)


def test_history_size_is_that_of_the_snapshot_or_else_the_legacy_state(real: Layout) -> None:
    assert history_size(real, "a") == len("text of runs.json")
    assert history_size(real, "b") == len("text of state.json")
    assert history_size(real, "none") == 0
