"""Temporary files of dead processes are swept, and nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

from support.leftovers import make_temporary

from batchpersist.storage.temp_files import sweep, temporary_beside


def test_what_dead_processes_left_is_swept_and_the_rest_is_not(tmp_path: Path) -> None:
    dead, _ = make_temporary(tmp_path / "runs.json", alive=False)
    living, process = make_temporary(tmp_path / "manifest.json", alive=True)
    own = Path(temporary_beside(str(tmp_path / "runs.json")))
    own.touch()
    foreign = [
        tmp_path / "runs.json",
        tmp_path / "runs.json.tmp-1234",  # another program's
        tmp_path / dead.name.replace(".tmp-", ".tmp_"),
        tmp_path / f"{dead.name}.gz",
    ]
    for path in foreign:
        path.touch()
    folder, link = tmp_path / f"{dead.name}1", tmp_path / f"{dead.name}2"
    folder.mkdir()
    link.symlink_to(own)
    assert sweep(str(tmp_path)) == 1
    assert not dead.exists()
    assert all(os.path.lexists(path) for path in [living, own, *foreign, folder, link])
    process.communicate()
    assert sweep(str(tmp_path)) == 1
    assert not living.exists()


def test_a_zombie_is_a_dead_writer(tmp_path: Path) -> None:
    path, process = make_temporary(tmp_path / "runs.json", alive=True)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert sweep(str(tmp_path)) == 1
    assert not path.exists()
    process.communicate()


def test_files_of_another_host_are_kept(tmp_path: Path) -> None:
    path, _ = make_temporary(tmp_path / "runs.json", alive=False)
    mark = path.name.index(".tmp-") + len(".tmp-")
    elsewhere = "0000" if path.name[mark : mark + 4] != "0000" else "0001"
    other = path.with_name(path.name[:mark] + elsewhere + path.name[mark + 4 :])
    path.rename(other)
    assert sweep(str(tmp_path)) == 0
    assert other.exists()


def test_a_missing_folder_is_empty(tmp_path: Path) -> None:
    assert sweep(str(tmp_path / "none")) == 0


def test_a_forked_process_has_names_of_its_own() -> None:
    read, sent = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(sent, temporary_beside("").encode())
        os._exit(0)
    os.waitpid(child, 0)
    ours = temporary_beside("")
    theirs = os.read(read, 100).decode()
    os.close(read)
    os.close(sent)
    assert theirs[:21] != ours[:21]
    assert theirs[21:] == ours[21:]  # so that only the first part kept them apart
