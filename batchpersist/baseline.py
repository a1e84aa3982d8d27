"""The file that a commit merges with: opened safely, and recognised again later on."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, NamedTuple

from .errors import SnapshotError
from .history import History, NotASnapshotError, empty_history, read_history
from .layout import Layout
from .models import Keys

# O_NONBLOCK: a FIFO planted in the place of a file must not make the open wait.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Version(NamedTuple):
    """What tells one state of a file from the next: a rename over it changes at least the inode."""

    device: int
    inode: int
    size: int
    mtime_ns: int


def version_of(path: str) -> Version | None:
    """The version of what is at ``path`` (a link is not followed); None where nothing is."""
    try:
        return _version(os.lstat(path))
    except FileNotFoundError:
        return None


def _version(status: os.stat_result) -> Version:
    return Version(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class Baseline:
    """The state of a task's files at one moment, as far as a commit builds on it.

    The file is kept open until ``close``: as long as it is, no other file can get its inode
    number, so that an equal version means the same content.
    """

    def __init__(self) -> None:
        self.mode: int | None = None
        """The permission bits of the snapshot; None where there is none."""
        self._versions: dict[str, Version | None] = {}
        self._file: BinaryIO | None = None

    def is_current(self) -> bool:
        """Whether the task's files are still as they were read."""
        return all(version_of(path) == version for path, version in self._versions.items())

    def close(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._file.close()

    def load(self, layout: Layout, task_id: str, keys: Keys) -> History:
        """Read the task's snapshot; where it has none, its legacy state if that is one, else nothing.

        Once only. Raises SnapshotError (a snapshot that cannot be read as one) and OSError; then,
        as well, the caller closes.
        """
        snapshot, legacy = layout.snapshot(task_id), layout.legacy_state(task_id)
        with _naming(snapshot):
            file = self._open(snapshot)
            if file is not None:
                self.mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                return _read(file, task_id, keys)
        with _naming(legacy):
            try:
                file = self._open(legacy)
                history = _read(file, task_id, keys) if file else empty_history()
            except NotASnapshotError:
                return empty_history()  # the name also serves other purposes
            history.further = b""  # of no meaning in a snapshot
            return history

    def _open(self, path: str) -> BinaryIO | None:
        self._versions[path] = None
        try:
            descriptor = os.open(path, _FLAGS)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise SnapshotError("the snapshot is a symbolic link") from error
            raise
        status = os.fstat(descriptor)
        self._versions[path] = _version(status)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise NotASnapshotError("the snapshot is not a regular file")
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        return self._file


def _read(file: BinaryIO, task_id: str, keys: Keys) -> History:
    return read_history(partial(os.pread, file.fileno()), task_id, keys)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Name the file in what is said of it; for those outside there is one kind of SnapshotError."""
    try:
        yield
    except SnapshotError as error:
        raise SnapshotError(error.message, f"{path}: {error.detail}" if error.detail else path) from error
