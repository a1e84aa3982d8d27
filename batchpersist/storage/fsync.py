"""What makes a group of files durable: nothing, an fsync of each, or one syncfs.

The order is the same for every kind, and the caller keeps it: write the temporaries,
``sync_data``, rename them, ``sync_names``, and only then report anything as persisted
(docs/formats.md; the measurements are in docs/decisions/0004-durability.md).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

from ..models import Durability
from ..profiling import SYNC, current
from .file_reader import open_regular

_TRUSTED = {
    0xEF53: "ext2, ext3, ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x01021994: "tmpfs",
}
"""By the magic number of statfs(2): elsewhere (FUSE, network) syncfs may report success and do nothing."""

_REPORTS_ERRORS = (5, 17)
"""The first Linux whose syncfs reports lost data (5.8) as well as a failed journal or flush (5.17)."""

_libc = ctypes.CDLL(None, use_errno=True)


def syncfs(fd: int, name: str) -> None:
    """Write out everything of the file system that ``fd`` is on.

    Raises OSError (its filename: ``name``), also for data that was lost at any time since
    ``fd`` was opened.
    """
    if _libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


@lru_cache(maxsize=1)
def refusal() -> str:
    """How the system words that this process may not call syncfs; "": it may. For Linux.

    A container's filter of system calls may say so before the kernel checks the descriptor.
    """
    _libc.syncfs(-1)
    number = ctypes.get_errno()
    return "" if number == errno.EBADF else os.strerror(number)


def is_reporting() -> bool:
    """Does this kernel's syncfs report what is lost?"""
    system = os.uname()
    return _kernel_reports_errors(system.sysname, system.release)


def is_trusted(fd: int) -> bool:
    """Is syncfs known to keep its promise on the file system that ``fd`` is on?"""
    if not is_reporting() or refusal():
        return False
    # struct statfs begins with f_type; this buffer is larger than the struct is anywhere.
    statfs = (ctypes.c_long * 64)()
    return _libc.fstatfs(fd, statfs) == 0 and statfs[0] in _TRUSTED


def _kernel_reports_errors(system: str, release: str) -> bool:
    """``Linux``, ``6.1.0-13-amd64`` -> True"""
    version = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    return system == "Linux" and version >= _REPORTS_ERRORS


_log = logging.getLogger(__name__)

FEW_FILES = 8
"""Up to so many files are synced one by one: that costs a few milliseconds more at the worst, whereas
a syncfs waits for all that other programs have written, however much that is."""


class SyncGroup:
    """The durability of one group of files; this base syncs nothing (``Durability.NONE``).

    Two threads may report into one group at once; each barrier is for one thread, after
    whatever it is to cover. A barrier that failed is never tried again, because the kernel
    has dropped the data by then and a second sync would succeed: the whole group has failed,
    and a later barrier of it raises at once.
    """

    def written(self, fd: int) -> None:
        """A temporary file's data and mode are complete; called before ``fd`` is closed.
        OSError: this file is lost (not the group)."""

    def created(self, directory: str) -> None:
        """A folder was made."""

    def sync_data(self) -> None:
        """Barrier before the group's first rename. OSError: nothing of the group may be renamed."""

    def renamed(self, target: str) -> None:
        """A temporary was renamed over ``target``."""

    def add_existing(self, path: str, root: str) -> None:
        """The file at ``path`` belongs to the group as it is: its writer may not have synced it.
        ``root``: the folder up to which its folders may be as new."""

    def sync_names(self) -> None:
        """Barrier after the group's last rename. OSError: nothing of the group is persisted."""

    def close(self) -> None:
        """Let go of descriptors; nothing more is synced. Idempotent."""

    _has_failed = False

    @contextlib.contextmanager
    def _attempt(self) -> Iterator[None]:
        """Around a barrier: raise OSError where an earlier one failed."""
        if self._has_failed:
            raise OSError(errno.EIO, "an earlier sync of this group failed")
        self._has_failed = True
        yield
        self._has_failed = False

    def __enter__(self) -> SyncGroup:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _FileByFile(SyncGroup):
    """fsync of each file as it is written, and of each touched folder once, at the end.

    Existing files are synced at the end as well: many of them by syncfs, where there is one.
    """

    def __init__(self, file_systems: _FileSystems | None = None) -> None:
        self._folders: set[str] = set()  # set.add is atomic: no lock for two threads
        self._existing: set[tuple[str, str]] = set()
        self._file_systems = file_systems

    def written(self, fd: int) -> None:
        # Not fdatasync: it may leave out the permission bits, and saves nothing for a new file.
        _counted(sync_file, fd)

    def created(self, directory: str) -> None:
        self._folders.add(os.path.dirname(directory))

    def renamed(self, target: str) -> None:
        self._folders.add(os.path.dirname(target))

    def add_existing(self, path: str, root: str) -> None:
        self._existing.add((path, root))

    def sync_names(self) -> None:
        with self._attempt():
            if self._file_systems is not None and len(self._existing) > FEW_FILES:
                self._file_systems.sync_data()
                self._existing.clear()
            while self._existing:
                self._sync_existing(*self._existing.pop())
            while self._folders:
                folder = self._folders.pop() or os.curdir
                _fsync(folder, _open_folder(folder))

    def _sync_existing(self, path: str, root: str) -> None:
        self._folders.add(root)
        folder = os.path.dirname(path)
        while len(folder) > len(root):
            self._folders.add(folder)
            folder = os.path.dirname(folder)
        with contextlib.suppress(FileNotFoundError):  # somebody has removed it since, on purpose
            _fsync(path, open_regular(path)[0])

    def close(self) -> None:
        if self._file_systems is not None:
            self._file_systems.close()


class _FileSystems(SyncGroup):
    """syncfs of each file system that the group writes to, once for the data and once for the names."""

    def __init__(self, descriptors: Mapping[int, str], opened: contextlib.ExitStack) -> None:
        self._descriptors = descriptors
        self._opened = opened

    def sync_data(self) -> None:
        with self._attempt():
            for fd, root in self._descriptors.items():
                _counted(syncfs, fd, root)

    def sync_names(self) -> None:
        self.sync_data()

    def close(self) -> None:
        self._opened.close()


def open_group(durability: Durability, roots: Sequence[str], *, files: int) -> SyncGroup:
    """Begin a group of about ``files`` files; call it before the group's first write.

    ``roots``: folders (which need not exist yet) on whose file systems everything of the
    group lies. BATCH gives one syncfs a file system where all of them are known to keep its
    promise and there are more than ``FEW_FILES`` files, otherwise the same as FILE. Raises
    OSError where a root cannot be opened.
    """
    if durability is Durability.NONE:
        return SyncGroup()
    file_systems = _trusted_file_systems(roots) if files > FEW_FILES else None
    if file_systems is None or durability is Durability.FILE:
        return _FileByFile(file_systems)
    return file_systems


def warn_of_refusal(durability: Durability) -> None:
    """Log a warning where a group of this durability cannot have the one sync that it is to have."""
    if durability is Durability.BATCH and is_reporting() and (reason := refusal()):
        _log.warning("syncfs is refused (%s): each file is synced by itself, which takes longer", reason)


def _trusted_file_systems(roots: Sequence[str]) -> _FileSystems | None:
    """Those of the roots; None where one of them is not known to keep syncfs's promise."""
    with contextlib.ExitStack() as opened:
        by_device: dict[int, tuple[int, str]] = {}
        for root in roots:
            # Before the first write: a descriptor hears only of data lost after it was opened.
            fd = _open_folder(nearest_folder(root))
            opened.callback(os.close, fd)
            by_device.setdefault(os.fstat(fd).st_dev, (fd, root))
        descriptors = dict(by_device.values())
        if all(map(is_trusted, descriptors)):
            return _FileSystems(descriptors, opened.pop_all())
    return None


_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
"""macOS: its fsync leaves the data in the drive's cache."""

_NO_FULL_SYNC = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.ENOSYS}
"""What a file system answers that knows no such sync."""


def sync_file(fd: int) -> None:
    """Write a file, or a folder, through to the medium. Raises OSError."""
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(fd, _FULL_SYNC)
            return
        except OSError as error:
            if error.errno not in _NO_FULL_SYNC:
                raise
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):  # by a filter of system calls, not by the medium
            error.strerror = f"fsync is refused: {error.strerror}"
        raise


def nearest_folder(path: str) -> str:
    """``path``, or the nearest folder above it that exists: it will be made on the same file system."""
    path = os.path.abspath(path)
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def _fsync(name: str, fd: int) -> None:
    """Sync and close; an OSError names ``name``."""
    try:
        _counted(sync_file, fd)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from error
    finally:
        os.close(fd)


def _counted(sync: Callable[..., None], *args: object) -> None:
    """Make a call that syncs, and have it counted."""
    clock = current()
    clock.syncs += 1
    before = clock.turn(SYNC)
    try:
        sync(*args)
    finally:
        clock.turn(before)


def _open_folder(folder: str) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
