import errno
import os
import resource
import stat
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recording_group import RecordingGroup

from batchpersist.models import Durability
from batchpersist.paths import TEMPORARY_MARK
from batchpersist.storage import atomic_write
from batchpersist.storage.atomic_write import commit, stage, write
from batchpersist.storage.fsync import SyncGroup

NO_SYNC = SyncGroup()


def permissions(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_staged_file_is_whole_and_beside_its_target(tmp_path):
    group = RecordingGroup()
    target = str(tmp_path / "target")
    staged = stage(target, (b"one", b"", b"two"), group)
    prefix, _, suffix = staged.temporary.partition(TEMPORARY_MARK)
    assert prefix == target
    assert int(suffix, 16) >= 0
    assert (staged.target, staged.size) == (target, 6)
    assert not os.path.exists(target)
    staged.publish(group)
    assert os.listdir(tmp_path) == ["target"]
    assert (tmp_path / "target").read_bytes() == b"onetwo"
    assert group.calls == [("written", staged.temporary), ("renamed", target)]


@settings(max_examples=60, deadline=None)
@given(chunks=st.lists(st.binary(max_size=40)), block=st.integers(1, 50))
def test_all_bytes_arrive_in_order_whatever_the_chunks_and_blocks(chunks, block):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic_write, "BLOCK", block)
        staged = stage(f"{folder}/target", iter(chunks), NO_SYNC)
        with open(staged.temporary, "rb") as file:
            assert file.read() == b"".join(chunks)
        assert staged.size == len(b"".join(chunks))


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, data[:3]))
    stage(str(tmp_path / "target"), (b"0123456789",), NO_SYNC).publish(NO_SYNC)
    assert (tmp_path / "target").read_bytes() == b"0123456789"


def test_many_small_chunks_are_few_writes(tmp_path, monkeypatch):
    sizes = []
    real_write = os.write

    def record(fd, data):
        sizes.append(len(data))
        return real_write(fd, data)

    monkeypatch.setattr(os, "write", record)
    stage(str(tmp_path / "target"), (b"x" * 1000 for _ in range(2000)), NO_SYNC)
    assert len(sizes) == -(-2_000_000 // atomic_write.BLOCK)


def test_without_a_mode_the_umask_decides(tmp_path):
    before = os.umask(0o027)
    try:
        staged = stage(str(tmp_path / "target"), (b"data",), NO_SYNC)
    finally:
        os.umask(before)
    assert permissions(staged.temporary) == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o777, 0o444])
def test_a_mode_is_given_exactly_and_before_the_data(tmp_path, mode):
    seen = []

    def chunks():
        (temporary,) = tmp_path.iterdir()
        seen.append(permissions(temporary))
        yield b"data"

    staged = stage(str(tmp_path / "target"), chunks(), NO_SYNC, mode=mode)
    assert [*seen, permissions(staged.temporary)] == [mode, mode]


def test_nobody_can_open_the_file_before_its_mode_is_set(tmp_path, monkeypatch):
    seen = []
    real_fchmod = os.fchmod

    def record(fd, mode):
        seen.append(stat.S_IMODE(os.fstat(fd).st_mode))
        real_fchmod(fd, mode)

    monkeypatch.setattr(os, "fchmod", record)
    stage(str(tmp_path / "target"), (b"data",), NO_SYNC, mode=0o644)
    assert len(seen) == 1
    assert seen[0] & 0o077 == 0


def test_an_error_of_the_chunks_leaves_nothing(tmp_path):
    def chunks():
        yield b"data"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(str(tmp_path / "target"), chunks(), NO_SYNC)
    assert os.listdir(tmp_path) == []


def test_a_failing_write_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large.*target'"):
            stage(str(tmp_path / "target"), (b"x" * 5000,), NO_SYNC)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


def test_errors_are_named_by_the_target_unless_they_have_a_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        stage(str(tmp_path / "missing" / "target"), (b"data",), NO_SYNC)
    assert caught.value.filename == str(tmp_path / "missing" / "target")
    with pytest.raises(FileNotFoundError) as caught:
        stage(str(tmp_path / "target"), map(Path.read_bytes, [Path("/the/source")]), NO_SYNC)
    assert caught.value.filename == "/the/source"

    def chunks():
        raise OSError("no error number")
        yield

    with pytest.raises(OSError, match=r"^no error number$"):
        stage(str(tmp_path / "target"), chunks(), NO_SYNC)


def test_a_failing_sync_of_the_file_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="Input/output error"):
        stage(str(tmp_path / "target"), (b"data",), RecordingGroup(fail_at="written"))
    assert os.listdir(tmp_path) == []


def test_a_failing_close_leaves_nothing(tmp_path, monkeypatch):
    real_close = os.close

    def close(fd):
        real_close(fd)
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        with pytest.raises(OSError, match="Disk quota exceeded"):
            stage(str(tmp_path / "target"), (b"data",), NO_SYNC)
    assert os.listdir(tmp_path) == []


def test_staging_leaves_no_descriptor_open(tmp_path):
    before = os.listdir("/proc/self/fd")
    stage(str(tmp_path / "target"), (b"data",), NO_SYNC)
    with pytest.raises(TypeError):
        stage(str(tmp_path / "target"), ("no bytes",), NO_SYNC)
    assert os.listdir("/proc/self/fd") == before


def test_what_cannot_be_published_is_removed(tmp_path):
    group = RecordingGroup()
    (tmp_path / "target").mkdir()
    staged = stage(str(tmp_path / "target"), (b"data",), group)
    with pytest.raises(IsADirectoryError) as caught:
        staged.publish(group)
    assert caught.value.filename == staged.target
    assert os.listdir(tmp_path) == ["target"]
    assert group.names() == ["written"]


def test_discarding_twice_is_nothing(tmp_path):
    staged = stage(str(tmp_path / "target"), (b"data",), NO_SYNC)
    staged.discard()
    staged.discard()
    assert os.listdir(tmp_path) == []


def test_threads_stage_the_same_target_without_meeting(tmp_path):
    names = []

    def work():
        names.extend(stage(str(tmp_path / "target"), (b"data",), NO_SYNC).temporary for _ in range(100))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 400


def test_commit_renames_between_the_barriers(tmp_path):
    group = RecordingGroup()
    commit(stage(str(tmp_path / "target"), (b"data",), group), group)
    assert group.names() == ["written", "sync_data", "renamed", "sync_names"]
    assert (tmp_path / "target").read_bytes() == b"data"


def test_data_that_was_not_synced_is_not_renamed(tmp_path):
    (tmp_path / "target").write_bytes(b"older")
    group = RecordingGroup(fail_at="sync_data")
    staged = stage(str(tmp_path / "target"), (b"data",), group)
    with pytest.raises(OSError, match="Input/output error"):
        commit(staged, group)
    assert os.listdir(tmp_path) == ["target"]
    assert (tmp_path / "target").read_bytes() == b"older"


@pytest.mark.parametrize("durability", list(Durability))
def test_write_makes_the_folder_and_replaces_the_file(tmp_path, durability):
    target = tmp_path / "a" / "b" / "metrics.json"
    for data in (b"first", b"second"):
        write(str(target), data, durability)
        assert target.read_bytes() == data
    assert os.listdir(target.parent) == ["metrics.json"]


def test_write_takes_a_bare_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("metrics.json", b"data", Durability.FILE)
    assert os.listdir(tmp_path) == ["metrics.json"]
