from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from batchpersist.contract.lock_record import Owner, parse
from batchpersist.locks import lock_file
from batchpersist.locks.lock_file import new_owner


@pytest.fixture
def owner() -> Owner:
    return new_owner("task", 300.0)


def refuse_links(monkeypatch: pytest.MonkeyPatch, code: int = errno.EPERM) -> None:
    def link(source: str, target: str) -> None:
        raise OSError(code, os.strerror(code), source, None, target)

    monkeypatch.setattr(os, "link", link)


def place(tmp_path: Path, owner: Owner, path: Path) -> bool:
    with lock_file.staged_record(str(tmp_path / "own"), owner) as source:
        return lock_file.place(source, owner, str(path))


def test_a_placed_file_holds_the_whole_record_and_no_other_is_left(tmp_path: Path, owner: Owner) -> None:
    path = tmp_path / "lock"
    assert place(tmp_path, owner, path)
    assert path.read_bytes() == owner.encode()
    assert list((tmp_path / "own").iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_an_existing_file_is_not_replaced(
    tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        refuse_links(monkeypatch)
    path = tmp_path / "lock"
    path.write_bytes(b"")
    assert not place(tmp_path, owner, path)
    assert path.read_bytes() == b""


def test_a_link_reported_to_exist_after_a_repeated_request_is_made(
    tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS does when the answer to a request was lost."""
    link = os.link

    def link_twice(source: str, path: str) -> None:
        link(source, path)
        link(source, path)

    monkeypatch.setattr(os, "link", link_twice)
    path = tmp_path / "lock"
    assert place(tmp_path, owner, path)
    assert path.read_bytes() == owner.encode()
    assert not place(tmp_path, owner, path), "the second one's is another file"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV])
def test_without_links_it_is_created_and_written(
    tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    refuse_links(monkeypatch, code)
    path = tmp_path / "lock"
    assert place(tmp_path, owner, path)
    assert path.read_bytes() == owner.encode()


def test_without_links_a_planted_symbolic_link_is_not_followed(
    tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch)
    path = tmp_path / "lock"
    path.symlink_to(tmp_path / "elsewhere")
    assert not place(tmp_path, owner, path)
    assert not (tmp_path / "elsewhere").exists()


def test_any_other_error_of_the_link_is_raised_as_it_is(
    tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch, errno.EROFS)
    with pytest.raises(OSError, match="Read-only") as caught:
        place(tmp_path, owner, tmp_path / "lock")
    assert caught.value.errno == errno.EROFS
    assert list((tmp_path / "own").iterdir()) == []


@pytest.mark.parametrize("written", [0, 7, None])
def test_a_record_that_cannot_be_written_whole_leaves_nothing(
    tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch, written: int | None
) -> None:
    refuse_links(monkeypatch)
    path = tmp_path / "lock"

    def write(fd: int, data: bytes) -> int:
        if written is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written

    with lock_file.staged_record(str(tmp_path / "own"), owner) as source:
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space left"):
            lock_file.place(source, owner, str(path))
    assert not path.exists()
    with pytest.raises(OSError, match="No space left"), lock_file.staged_record(str(tmp_path / "own"), owner):
        raise AssertionError("not reached")
    assert list((tmp_path / "own").iterdir()) == []


def test_only_the_token_s_own_file_is_removed(tmp_path: Path, owner: Owner) -> None:
    path = tmp_path / "lock"
    assert not lock_file.remove(str(path), owner.token)
    place(tmp_path, owner, path)
    assert not lock_file.remove(str(path), "another")
    assert path.exists()
    assert lock_file.remove(str(path), owner.token)
    assert not path.exists()


def test_only_the_token_s_own_file_is_refreshed(tmp_path: Path, owner: Owner) -> None:
    path = tmp_path / "lock"
    assert not lock_file.refresh(str(path), owner.token)
    place(tmp_path, owner, path)
    os.utime(path, (1000, 1000))
    assert not lock_file.refresh(str(path), "another")
    assert path.stat().st_mtime == 1000
    assert lock_file.refresh(str(path), owner.token)
    assert path.stat().st_mtime > 1000


def plant(kind: str, path: Path, record: bytes) -> None:
    if kind == "link":
        path.with_suffix(".target").write_bytes(record)
        path.symlink_to(path.with_suffix(".target"))
    elif kind == "dangling link":
        path.symlink_to(path.with_suffix(".nowhere"))
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_a_path_that_is_not_a_regular_file_has_no_content_and_is_never_removed(
    tmp_path: Path, owner: Owner, kind: str
) -> None:
    path = tmp_path / "lock"
    plant(kind, path, owner.encode())
    seen = lock_file.read_lock(str(path))
    assert seen is not None
    assert seen.content is None
    assert not lock_file.remove(str(path), owner.token)
    assert os.path.lexists(path)
    assert lock_file.describe_owner(str(path)) == "something that is no lock file (a link or a folder)"


def test_a_file_differs_from_its_equal_successor(tmp_path: Path, owner: Owner) -> None:
    path = tmp_path / "lock"
    assert lock_file.read_lock(str(path)) is None
    path.write_bytes(owner.encode())
    first = lock_file.read_lock(str(path))
    assert first == lock_file.read_lock(str(path))
    (tmp_path / "successor").write_bytes(owner.encode())
    os.replace(tmp_path / "successor", path)
    assert first != lock_file.read_lock(str(path))


def test_the_holder_in_words(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert lock_file.describe_owner(str(path)) == "nobody any more"
    path.write_bytes(b"")
    assert lock_file.describe_owner(str(path)) == "someone who left no owner record"
    record = b'{"schema_version":1,"kind":"codex-lock-owner","token":"t","pid":12,"host":"box"'
    path.write_bytes(record + b',"acquired_at":"2025-01-02T03:04:05.678Z"}\n')
    assert lock_file.describe_owner(str(path)) == "12@box since 2025-01-02T03:04:05.678Z"
    path.write_bytes(record + b"}")
    assert lock_file.describe_owner(str(path)) == "12@box since an unknown time"
    path.write_bytes(record.replace(b'12,"host":"box"', b'"12"') + b"}")
    assert lock_file.describe_owner(str(path)) == "an unknown process@an unknown host since an unknown time"
    unreadable = lock_file.describe_owner(str(path / "below a file"))
    assert unreadable == "someone whose record cannot be read (Not a directory)"


def test_a_record_is_read_to_its_end(tmp_path: Path) -> None:
    long = new_owner("ü" * 120, 300.0)
    path = tmp_path / "lock"
    assert place(tmp_path, long, path)
    seen = lock_file.read_lock(str(path))
    assert seen is not None
    assert seen.content is not None
    read = parse(seen.content)
    assert read is not None
    assert (read.token, read.task_id) == (long.token, long.task_id)
