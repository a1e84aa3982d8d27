"""The scratch folder is removed at the end, however a comparison ends."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from batchpersist.compare.scratch import PREFIX, default_parent, file_system, scratch_folder
from batchpersist.errors import UsageError


def left(parent: Path) -> list[str]:
    return [path.name for path in parent.iterdir()]


def test_folder_is_removed_also_after_an_error(tmp_path: Path) -> None:
    def work() -> None:
        with scratch_folder(str(tmp_path)) as folder:
            assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
            os.makedirs(os.path.join(folder, "a", "b"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert left(tmp_path) == []


def test_kept_folder_is_not_removed_by_the_next_comparison(tmp_path: Path) -> None:
    with scratch_folder(str(tmp_path), keep=True) as kept:
        Path(kept, "tree").mkdir()
    with scratch_folder(str(tmp_path)):
        pass
    assert left(tmp_path) == [os.path.basename(kept)]
    assert os.listdir(kept) == ["tree"]


def test_folder_of_a_killed_comparison_is_removed_by_the_next_one(tmp_path: Path) -> None:
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


def test_files_and_folders_without_a_lock_are_kept(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / f"{PREFIX}folder").mkdir()
    (tmp_path / f"{PREFIX}folder" / "precious").touch()
    with scratch_folder(str(tmp_path)):
        pass
    assert sorted(left(tmp_path)) == [f"{PREFIX}file", f"{PREFIX}folder"]


def test_default_parent_is_the_nearest_existing_folder_above_the_runs_dir(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert default_parent(str(tmp_path / "runs")) == str(tmp_path)
    assert default_parent(str(tmp_path / "new" / "deep" / "runs")) == str(tmp_path)
    (tmp_path / "disk" / "runs").mkdir(parents=True)
    (tmp_path / "link").symlink_to("disk/runs")
    assert default_parent(str(tmp_path / "link")) == str(tmp_path / "disk")


def test_default_parent_of_a_mount_point_is_refused() -> None:
    if not os.path.ismount("/dev/shm"):
        pytest.skip("NO FILE SYSTEM IS MOUNTED AT /dev/shm")
    with pytest.raises(UsageError, match=r"/dev/shm is a file system of its own.*--scratch"):
        default_parent("/dev/shm")


def test_locked_folder_of_another_comparison_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / f"{PREFIX}other"
    folder.mkdir()
    with FileLock(folder / "lock"), scratch_folder(str(tmp_path)):
        assert folder.is_dir()


def test_file_system_is_named_by_its_kind() -> None:
    assert file_system(".") not in ("", "unknown")
    assert file_system("/proc/self") == "proc"
