"""Opening a file to read it, whatever is in its place."""

from __future__ import annotations

import errno
import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from batchpersist.locks.batch_lock import holder_of
from batchpersist.paths import Layout
from batchpersist.storage.file_reader import NotRegularFileError, open_regular


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


OTHERS: dict[str, tuple[Callable[[Path], object], int]] = {
    "a symbolic link": (lambda path: path.symlink_to("file"), errno.ELOOP),
    "a folder": (os.mkdir, errno.EISDIR),
    "a pipe, socket or device": (os.mkfifo, errno.ENXIO),
}


def test_a_file_is_opened_to_be_read_with_its_status(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    descriptor, status = open_regular(str(tmp_path / "file"))
    assert (os.read(descriptor, 9), status.st_size) == (b"text", 4)
    os.close(descriptor)


@pytest.mark.parametrize("what", OTHERS)
def test_a_path_that_is_not_a_file_is_refused_at_once_and_named(tmp_path: Path, what: str) -> None:
    make, code = OTHERS[what]
    (tmp_path / "file").touch()
    make(tmp_path / "x")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(NotRegularFileError, match=f"{what} stands in the place of a file") as caught:
        open_regular(str(tmp_path / "x"))
    assert (caught.value.errno, caught.value.filename) == (code, str(tmp_path / "x"))
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_socket_is_refused_as_a_pipe_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    bind_socket(Path("s"))
    with pytest.raises(NotRegularFileError, match="a pipe, socket or device") as caught:
        open_regular("s")
    assert caught.value.errno == errno.ENXIO


def test_other_errors_are_those_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(str(tmp_path / "x"))


def test_who_holds_a_batch_lock_is_found_out_without_waiting_for_a_pipe(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "out"), str(tmp_path / "runs"))
    os.makedirs(layout.own_dir)
    os.mkfifo(layout.batch_lock)
    with pytest.raises(NotRegularFileError):
        holder_of(layout)
