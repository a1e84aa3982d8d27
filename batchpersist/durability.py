"""What makes a group of files durable: no sync, an fsync of each, or one syncfs for all of them.

The order is the same for every kind, and the caller keeps it: write the temporaries,
``sync_data``, rename them, ``sync_names``, and only then report anything as persisted
(docs/formats.md; the measurements are in docs/decisions/0004-durability.md).
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Sequence
from types import TracebackType

from .models import Durability

FEW_FILES = 8
"""Up to so many files an fsync of each is cheaper than two syncfs, which flush other programs' data too."""

_SYNCFS_IS_TRUSTED = {
    0xEF53: "ext2, ext3, ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x01021994: "tmpfs",
}
"""By the magic number of statfs(2): elsewhere (FUSE, network) syncfs may report success and do nothing."""

_SYNCFS_REPORTS_ERRORS = (5, 17)
"""The first Linux whose syncfs(2) reports lost data (5.8) as well as a failed journal or flush (5.17)."""


class SyncGroup:
    """The durability of one group of files; this base syncs nothing (``Durability.NONE``).

    Two threads may report into one group at once; each barrier is for one thread, after
    whatever it is to cover. A sync that failed is never tried again, because the kernel has
    dropped the data by then and a second sync would succeed: the whole group has failed.
    """

    def written(self, fd: int) -> None:
        """A temporary file's data and mode are complete; called before ``fd`` is closed."""

    def created(self, directory: str) -> None:
        """A folder was made."""

    def sync_data(self) -> None:
        """Barrier before the group's first rename. OSError: nothing of the group may be renamed."""

    def renamed(self, target: str) -> None:
        """A temporary was renamed over ``target``."""

    def sync_names(self) -> None:
        """Barrier after the group's last rename. OSError: nothing of the group is persisted."""

    def close(self) -> None:
        """Let go of descriptors; nothing more is synced. Idempotent."""

    def __enter__(self) -> SyncGroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _FileByFile(SyncGroup):
    """fsync of each file as it is written, and of each touched folder once, at the end."""

    def __init__(self) -> None:
        self._folders: set[str] = set()  # set.add is atomic: no lock for two threads

    def written(self, fd: int) -> None:
        # Not fdatasync: it may leave out the permission bits, and saves nothing for a new file.
        os.fsync(fd)

    def created(self, directory: str) -> None:
        self._folders.add(os.path.dirname(directory))

    def renamed(self, target: str) -> None:
        self._folders.add(os.path.dirname(target))

    def sync_names(self) -> None:
        while self._folders:
            _fsync_folder(self._folders.pop() or os.curdir)


class _FileSystems(SyncGroup):
    """syncfs of each file system that the group writes to, once for the data and once for the names."""

    def __init__(self, libc: ctypes.CDLL) -> None:
        self._libc = libc
        self._descriptors: dict[int, int] = {}  # st_dev -> fd
        self._failed = False

    def add(self, folder: str) -> bool:
        """Cover the file system of ``folder``; False where its syncfs is not to be trusted."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if self._descriptors.setdefault(os.fstat(fd).st_dev, fd) != fd:
            os.close(fd)
            return True
        # struct statfs begins with f_type; the buffer is larger than the struct is anywhere.
        statfs = (ctypes.c_long * 64)()
        return self._libc.fstatfs(fd, statfs) == 0 and statfs[0] in _SYNCFS_IS_TRUSTED

    def sync_data(self) -> None:
        self._sync()

    def sync_names(self) -> None:
        self._sync()

    def _sync(self) -> None:
        if self._failed:
            raise OSError(errno.EIO, "an earlier sync of this group failed")
        for fd in self._descriptors.values():
            if self._libc.syncfs(fd) != 0:
                self._failed = True
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


def open_group(durability: Durability, roots: Sequence[str], *, files: int) -> SyncGroup:
    """Begin a group of about ``files`` files; call it before the group's first write.

    ``roots``: folders (which need not exist yet) on whose file systems everything of the
    group lies. BATCH gives one syncfs a file system where all of them are known to keep its
    promise and there are more than ``FEW_FILES`` files, otherwise the same as FILE. Raises
    OSError where a root cannot be opened.
    """
    if durability is Durability.NONE:
        return SyncGroup()
    if durability is Durability.BATCH and files > FEW_FILES and _syncfs_reports_errors():
        group = _FileSystems(ctypes.CDLL(None, use_errno=True))
        try:
            if all([group.add(_nearest_folder(root)) for root in roots]):
                return group
        except BaseException:
            group.close()
            raise
        group.close()
    return _FileByFile()


def _syncfs_reports_errors() -> bool:
    system = os.uname()
    return system.sysname == "Linux" and _version(system.release) >= _SYNCFS_REPORTS_ERRORS


def _version(release: str) -> tuple[int, ...]:
    """``6.1.0-13-amd64`` -> (6, 1)"""
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2])


def _nearest_folder(path: str) -> str:
    """``path``, or the nearest folder above it that exists: it will be made on the same file system."""
    path = os.path.abspath(path)
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def _fsync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
