import errno
import os
import subprocess
import threading

import pytest

from batchpersist.models import Durability
from batchpersist.storage import fsync
from batchpersist.storage.atomic_write import make_dirs, stage
from batchpersist.storage.fsync import FEW_FILES, open_group

MANY = FEW_FILES + 1


@pytest.fixture
def syncs(monkeypatch):
    """The syncs as they happen: ("fsync", path) and ("syncfs", root), and still done for real."""
    calls = []
    real_fsync, real_syncfs = os.fsync, fsync.syncfs

    def record_fsync(fd):
        calls.append(("fsync", os.readlink(f"/proc/self/fd/{fd}")))
        real_fsync(fd)

    def record_syncfs(fd, name):
        calls.append(("syncfs", name))
        real_syncfs(fd, name)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(fsync, "syncfs", record_syncfs)
    return calls


@pytest.fixture
def trusted(monkeypatch):
    """As on a disk that can be trusted, whatever the tests' disk is."""
    monkeypatch.setattr(fsync, "is_trusted", lambda fd: True)


def write_two_files(group, root, syncs):
    """Two files in a new folder each; marks the renames among the syncs."""
    staged = []
    for name in ("a", "b"):
        make_dirs(f"{root}/{name}", group)
        staged.append(stage(f"{root}/{name}/file", (b"data",), group))
    group.sync_data()
    for file in staged:
        syncs.append(("rename", file.target))
        file.publish(group)
    group.sync_names()
    return staged


def fail_with_eio(*_args):
    raise OSError(errno.EIO, "Input/output error")


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_none_syncs_nothing(tmp_path, syncs):
    with open_group(Durability.NONE, [str(tmp_path)], files=1000) as group:
        write_two_files(group, tmp_path, syncs)
    assert [kind for kind, _ in syncs] == ["rename", "rename"]


@pytest.mark.parametrize(("kind", "files"), [(Durability.FILE, 1000), (Durability.BATCH, FEW_FILES)])
def test_files_are_synced_before_the_renames_and_folders_after(tmp_path, syncs, kind, files):
    with open_group(kind, [str(tmp_path)], files=files) as group:
        staged = write_two_files(group, tmp_path, syncs)
    assert syncs[:4] == [
        ("fsync", staged[0].temporary),
        ("fsync", staged[1].temporary),
        ("rename", staged[0].target),
        ("rename", staged[1].target),
    ]
    # Each folder once: those of the renames, and the one in which they were made.
    assert sorted(syncs[4:]) == [("fsync", str(tmp_path / name)) for name in ("", "a", "b")]


def test_the_working_folder_is_synced_for_a_bare_name(tmp_path, syncs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_group(Durability.FILE, [""], files=1) as group:
        stage("bare", (b"data",), group).publish(group)
        group.sync_names()
    assert syncs[-1] == ("fsync", str(tmp_path))


def test_batch_syncs_the_file_system_once_before_and_once_after_the_renames(tmp_path, syncs, trusted):
    roots = [str(tmp_path), str(tmp_path / "not" / "there" / "yet")]
    with open_group(Durability.BATCH, roots, files=MANY) as group:
        write_two_files(group, tmp_path, syncs)
    assert [kind for kind, _ in syncs] == ["syncfs", "rename", "rename", "syncfs"]


def test_batch_syncs_each_file_system(tmp_path, syncs, trusted):
    if os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("only one file system here")
    with open_group(Durability.BATCH, [str(tmp_path), "/dev/shm"], files=MANY) as group:
        group.sync_data()
    assert syncs == [("syncfs", str(tmp_path)), ("syncfs", "/dev/shm")]


def test_batch_opens_its_descriptor_at_once_and_closes_it(tmp_path, trusted):
    before = open_descriptors()
    with open_group(Durability.BATCH, [str(tmp_path), str(tmp_path)], files=MANY) as group:
        assert open_descriptors() > before
        group.close()
        assert open_descriptors() == before
    assert open_descriptors() == before


def test_where_syncfs_is_not_trusted_each_file_is_synced(tmp_path, syncs, monkeypatch):
    monkeypatch.setattr(fsync, "is_trusted", lambda fd: False)
    before = open_descriptors()
    with open_group(Durability.BATCH, [str(tmp_path)], files=MANY) as group:
        assert open_descriptors() == before
        write_two_files(group, tmp_path, syncs)
    assert {kind for kind, _ in syncs} == {"fsync", "rename"}


def test_a_root_that_cannot_be_opened_raises_and_leaves_nothing_open(tmp_path, monkeypatch):
    real_open = os.open

    def refuse(path, *args, **kwargs):
        if path == str(tmp_path / "refused"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real_open(path, *args, **kwargs)

    (tmp_path / "refused").mkdir()
    monkeypatch.setattr(os, "open", refuse)
    before = open_descriptors()
    with pytest.raises(PermissionError):
        open_group(Durability.BATCH, [str(tmp_path), str(tmp_path / "refused")], files=MANY)
    assert open_descriptors() == before


@pytest.mark.parametrize("kind", [Durability.BATCH, Durability.FILE])
def test_a_failed_sync_is_never_tried_again(tmp_path, monkeypatch, trusted, kind):
    calls = []

    def fail(*args):
        calls.append(args)
        fail_with_eio()

    with open_group(kind, [str(tmp_path)], files=MANY) as group:
        stage(f"{tmp_path}/file", (b"data",), group).publish(group)
        monkeypatch.setattr(os, "fsync", fail)
        monkeypatch.setattr(fsync, "syncfs", fail)
        with pytest.raises(OSError, match="Input/output error"):
            group.sync_names()
        with pytest.raises(OSError, match="an earlier sync of this group failed"):
            group.sync_names()
    assert len(calls) == 1


def test_a_folder_that_could_not_be_synced_is_named(tmp_path, monkeypatch):
    with open_group(Durability.FILE, [str(tmp_path)], files=1) as group:
        group.renamed(f"{tmp_path}/file")
        monkeypatch.setattr(os, "fsync", fail_with_eio)
        with pytest.raises(OSError, match="Input/output error") as caught:
            group.sync_names()
    assert caught.value.filename == str(tmp_path)


def standing_files(root, group, count):
    paths = [root / str(number) / "file" for number in range(count)]
    for path in paths:
        path.parent.mkdir()
        path.touch()
        group.add_existing(str(path), str(root))
    return paths


def test_an_existing_file_is_synced_with_its_folders_up_to_the_root(tmp_path, syncs):
    with open_group(Durability.BATCH, [str(tmp_path)], files=2) as group:
        paths = standing_files(tmp_path, group, 2)
        group.add_existing(f"{tmp_path}/gone/file", str(tmp_path))
        (tmp_path / "gone").mkdir()
        assert syncs == []
        group.sync_data()
        group.sync_names()
    folders = [tmp_path, tmp_path / "gone", *(path.parent for path in paths)]
    assert sorted(syncs) == sorted(("fsync", str(path)) for path in [*paths, *folders])


@pytest.mark.parametrize("kind", [Durability.BATCH, Durability.FILE])
def test_many_existing_files_are_synced_at_once(tmp_path, syncs, trusted, kind):
    with open_group(kind, [str(tmp_path)], files=MANY) as group:
        standing_files(tmp_path, group, MANY)
        group.sync_data()
        group.sync_names()
    assert set(syncs) == {("syncfs", str(tmp_path))}


def test_existing_files_are_synced_one_by_one_where_syncfs_is_not_trusted(tmp_path, syncs, monkeypatch):
    monkeypatch.setattr(fsync, "is_trusted", lambda fd: False)
    with open_group(Durability.BATCH, [str(tmp_path)], files=MANY) as group:
        paths = standing_files(tmp_path, group, MANY)
        group.sync_names()
    assert {("fsync", str(path)) for path in paths} < set(syncs)


def test_after_failed_data_the_names_fail_too(tmp_path, monkeypatch, trusted):
    with open_group(Durability.BATCH, [str(tmp_path)], files=MANY) as group:
        with monkeypatch.context() as broken:
            broken.setattr(fsync, "syncfs", fail_with_eio)
            with pytest.raises(OSError, match="Input/output error"):
                group.sync_data()
        with pytest.raises(OSError, match="an earlier sync of this group failed"):
            group.sync_names()


def test_two_threads_report_into_one_group(tmp_path, syncs):
    group = open_group(Durability.FILE, [str(tmp_path)], files=MANY)
    folders = [tmp_path / str(number) for number in range(400)]
    for folder in folders:
        folder.mkdir()
    barrier = threading.Barrier(2)

    def report(mine):
        barrier.wait()
        for folder in mine:
            group.renamed(f"{folder}/file")

    threads = [threading.Thread(target=report, args=(folders[part::2],)) for part in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    group.sync_names()
    assert sorted(syncs) == sorted(("fsync", str(folder)) for folder in folders)


def test_the_nearest_folder_of_a_path_below_a_file_is_the_folder_above_it(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert fsync.nearest_folder(f"{tmp_path}/file/below") == str(tmp_path)


@pytest.mark.parametrize("folder", ["/proc", "/dev/shm", "tmp_path"])
def test_trust_goes_by_the_kind_of_file_system(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fsync, "_kernel_reports_errors", lambda system, release: True)
    folder = str(tmp_path) if folder == "tmp_path" else folder
    told = subprocess.run(["stat", "-f", "-c", "%T", folder], check=True, capture_output=True, text=True)
    fd = os.open(folder, os.O_RDONLY)
    try:
        assert fsync.is_trusted(fd) == (told.stdout.strip() in {"ext2/ext3", "xfs", "btrfs", "tmpfs"})
        monkeypatch.setattr(fsync, "_kernel_reports_errors", lambda system, release: False)
        assert not fsync.is_trusted(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("system", "release", "trusted"),
    [
        ("Linux", "5.17.0", True),
        ("Linux", "6.1.0-13-amd64", True),
        ("Linux", "10.0-rc1", True),
        ("Linux", "5.16.20", False),
        ("Linux", "4.18.0-553.el8_10.x86_64", False),
        ("Darwin", "23.1.0", False),
    ],
)
def test_trust_needs_a_kernel_that_reports_errors(system, release, trusted):
    assert fsync._kernel_reports_errors(system, release) == trusted


def test_syncfs_raises_with_the_name(tmp_path):
    with pytest.raises(OSError, match="the-root") as caught:
        fsync.syncfs(-1, "the-root")
    assert caught.value.errno == errno.EBADF
