"""The scratch folder: gone at the end, whatever the end was; and the copies in it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from batchpersist.compare.scratch import (
    PREFIX,
    copy_histories,
    history_size,
    place_beside,
    remove,
    scratch_folder,
)
from batchpersist.errors import UsageError
from batchpersist.paths import Layout


def left(parent: Path) -> list[str]:
    return [path.name for path in parent.iterdir()]


def test_it_is_removed_with_all_that_is_in_it_also_after_an_error(tmp_path: Path) -> None:
    def work() -> None:
        with scratch_folder(str(tmp_path)) as folder:
            assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
            os.makedirs(os.path.join(folder, "a", "b"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert left(tmp_path) == []


def test_it_may_be_kept_and_is_not_swept_then(tmp_path: Path) -> None:
    with scratch_folder(str(tmp_path), keep=True) as kept:
        Path(kept, "tree").mkdir()
    with scratch_folder(str(tmp_path)):
        pass
    assert left(tmp_path) == [os.path.basename(kept)]
    assert os.listdir(kept) == ["tree"]


def test_what_a_killed_comparison_left_is_removed_by_the_next_and_no_other_s(tmp_path: Path) -> None:
    program = (
        "import sys, time; from batchpersist.compare.scratch import scratch_folder\n"
        "with scratch_folder(sys.argv[1]) as folder: print(folder, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = process.stdout.readline().strip()
        with scratch_folder(str(tmp_path)):
            assert os.path.isdir(folder), "that one is at work"
        process.send_signal(signal.SIGKILL)
    assert os.path.isdir(folder)
    with scratch_folder(str(tmp_path)):
        pass
    assert left(tmp_path) == []


def test_what_only_looks_like_one_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / f"{PREFIX}folder").mkdir()
    (tmp_path / f"{PREFIX}folder" / "precious").touch()
    with scratch_folder(str(tmp_path)):
        pass
    assert sorted(left(tmp_path)) == [f"{PREFIX}file", f"{PREFIX}folder"]


def test_it_lies_beside_the_runs_dir_or_above_what_is_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert place_beside(str(tmp_path / "runs")) == str(tmp_path)
    assert place_beside(str(tmp_path / "new" / "deep" / "runs")) == str(tmp_path)
    (tmp_path / "disk" / "runs").mkdir(parents=True)
    (tmp_path / "link").symlink_to("disk/runs")
    assert place_beside(str(tmp_path / "link")) == str(tmp_path / "disk")


def test_a_runs_dir_on_a_file_system_of_its_own_needs_a_place() -> None:
    if not os.path.ismount("/dev/shm"):
        pytest.skip("NO FILE SYSTEM IS MOUNTED AT /dev/shm")
    with pytest.raises(UsageError, match=r"/dev/shm is a file system of its own.*--scratch"):
        place_beside("/dev/shm")


# Copies of what stands


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


def test_snapshots_states_and_manifests_are_copied_and_nothing_else(tmp_path: Path, real: Layout) -> None:
    Path(real.task_lock("a")).touch()
    Path(real.task_dir("a"), "notes.txt").touch()
    copy, found = copies(tmp_path, real)
    assert found == {
        "out/a/runs.json": "text of runs.json",
        "out/b/state.json": "text of state.json",
        "runs/a/r1/manifest.json": "text of manifest.json",
    }
    assert stat.S_IMODE(os.stat(copy.snapshot("a")).st_mode) == 0o640


def test_a_link_stays_one_but_never_leads_to_the_real_root(tmp_path: Path, real: Layout) -> None:
    os.symlink(real.task_dir("a"), real.task_dir("none"))
    os.unlink(real.snapshot("a"))
    os.symlink(real.legacy_state("b"), real.snapshot("a"))
    copy, found = copies(tmp_path, real)
    assert os.path.islink(copy.snapshot("a"))
    assert os.path.islink(copy.task_dir("none"))
    assert not any("b/state.json" in text or real.out_dir in text for text in found.values() if "->" in text)


def test_a_folder_that_may_not_be_written_to_is_copied_with_what_is_in_it(
    tmp_path: Path, real: Layout
) -> None:
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


def test_a_history_that_cannot_be_read_is_an_error(tmp_path: Path, real: Layout) -> None:
    os.chmod(real.snapshot("a"), 0)
    if os.access(real.snapshot("a"), os.R_OK):
        pytest.skip("AS ROOT EVERYTHING CAN BE READ")
    with pytest.raises(PermissionError):
        copies(tmp_path, real)


def test_the_size_of_what_a_commit_builds_on(real: Layout) -> None:
    assert history_size(real, "a") == len("text of runs.json")
    assert history_size(real, "b") == len("text of state.json")
    assert history_size(real, "none") == 0


def test_a_lock_of_others_on_the_folder_s_file_holds_off_the_sweep(tmp_path: Path) -> None:
    folder = tmp_path / f"{PREFIX}other"
    folder.mkdir()
    with FileLock(folder / "lock"), scratch_folder(str(tmp_path)):
        assert folder.is_dir()
