import os
import re
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recording_group import RecordingGroup

from batchpersist import BatchOptions, UsageError, run_batch
from batchpersist.storage.atomic_write import make_dirs
from batchpersist.storage.fsync import SyncGroup

NO_SYNC = SyncGroup()


@settings(max_examples=60, deadline=None)
@given(
    depth=st.integers(1, 5),
    standing=st.integers(0, 5),
    slash=st.sampled_from(["", "/", "//"]),
)
def test_make_dirs_makes_missing_folders_and_reports_them(depth, standing, slash):
    with tempfile.TemporaryDirectory() as root:
        paths = ["/".join([root, *"abcde"[: level + 1]]) for level in range(depth)]
        for path in paths[:standing]:
            os.mkdir(path)
        group = RecordingGroup()
        assert make_dirs(paths[-1] + slash, group) == (standing < depth)
        assert group.calls == [("created", path) for path in paths[standing:]]
        assert os.path.isdir(paths[-1])


def test_make_dirs_takes_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    group = RecordingGroup()
    assert make_dirs("a/b", group)
    assert group.calls == [("created", "a"), ("created", "a/b")]
    assert not make_dirs(".", group)


def test_make_dirs_goes_deeper_than_the_recursion_limit(tmp_path):
    path = f"{tmp_path}/top" + "/d" * 1500
    try:
        assert make_dirs(path, NO_SYNC)
        assert os.path.isdir(path)
    finally:  # too deep for pytest to remove
        for level in range(path.count("/") - str(tmp_path).count("/")):
            os.rmdir(path.rsplit("/", level)[0])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["file", "dangling", "dangling/below"])
def test_make_dirs_refuses_a_file_in_the_way(tmp_path, name):
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        make_dirs(str(tmp_path / name), NO_SYNC)
    with pytest.raises(NotADirectoryError):
        make_dirs(str(tmp_path / "file" / "below"), NO_SYNC)
    assert (tmp_path / "file").read_bytes() == b"kept"
    assert sorted(os.listdir(tmp_path)) == ["dangling", "file"]


def test_make_dirs_in_a_removed_working_folder_raises(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError):
        make_dirs("a/b", NO_SYNC)


def test_many_make_the_same_folder_and_one_has_made_it(tmp_path):
    barrier = threading.Barrier(8)
    made = []

    def work():
        barrier.wait()
        for number in range(30):
            path = f"{tmp_path}/{number}/a/b"
            made.extend([path] if make_dirs(path, NO_SYNC) else [])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == sorted(f"{tmp_path}/{number}/a/b" for number in range(30))


@pytest.mark.parametrize("name", ["out_dir", "runs_dir"])
@pytest.mark.parametrize("below", ["", "/deeper/still"])
@pytest.mark.parametrize("target", ["gone", "link"])
def test_a_root_behind_a_dangling_link_is_refused_and_nothing_is_made(
    tmp_path: Path, name: str, below: str, target: str
) -> None:
    (tmp_path / "link").symlink_to(target)
    roots: dict[str, Any] = {name: f"{tmp_path}/link{below}"}
    reason = f"leads through a link whose target does not exist: {tmp_path}/link -> {target};"
    with pytest.raises(UsageError, match=re.escape(reason)):
        run_batch([], BatchOptions(**roots))
    assert os.listdir(tmp_path) == ["link"]


def test_a_root_may_be_a_link_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    assert BatchOptions(out_dir=f"{tmp_path}/link/new").out_dir == f"{tmp_path}/link/new"
