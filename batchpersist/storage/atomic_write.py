"""Files that appear whole or not at all, and the folders for them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator

from ..models import Durability
from .file_reader import BLOCK
from .fingerprint import Fingerprint, file_clock
from .fsync import SyncGroup, open_group
from .temp_files import temporary_beside


def dangling_link(path: str) -> str | None:
    """The symbolic link on the way to ``path``, or at it, whose target does not exist; None if there is none.

    To make what it points to could fill a disk that another one should be mounted over.
    """
    path = os.path.abspath(path)
    while path != (above := os.path.dirname(path)):
        if os.path.islink(path) and not os.path.exists(path):
            return path
        path = above
    return None


def make_dirs(path: str, group: SyncGroup, *, follow: bool = True) -> bool:
    """Make the folder ``path`` and what is missing above it; safe beside others who do the same.

    ``follow=False``: a symbolic link to a folder is none.

    True where ``path`` itself was made just now, so that there can be no older file in it.
    Raises OSError, for one where a file is in the way.
    """
    path = path.rstrip(os.sep) or path
    try:
        return _make_dir(path, group, follow)
    except FileNotFoundError:
        missing = [path]
        while not os.path.isdir(parent := os.path.dirname(missing[-1]) or os.curdir):
            missing.append(parent)
    made = False
    while missing:
        made = _make_dir(missing.pop(), group, follow)
    return made


def _make_dir(path: str, group: SyncGroup, follow: bool) -> bool:
    """False where it exists already."""
    try:
        os.mkdir(path)
    except FileExistsError:
        if not (os.path.isdir(path) if follow else _is_own_folder(path)):
            raise
        return False
    group.created(path)
    return True


def refuse_link(path: str) -> None:
    """Raise OSError where a symbolic link is in the place of a folder: what is below it lies elsewhere.

    Who may plant one may write there anyway; but then this process does not do it for them.
    """
    with contextlib.suppress(FileNotFoundError):
        _is_own_folder(path)


def refuse_links_in(path: str) -> None:
    """Raise OSError where a folder, or anything in it, is a symbolic link. One that is not there has none."""
    refuse_link(path)
    with contextlib.suppress(FileNotFoundError), os.scandir(path) as entries:
        for entry in entries:
            if entry.is_symlink():
                raise OSError(errno.ELOOP, "a symbolic link among batchpersist's own files", entry.path)


def _is_own_folder(path: str) -> bool:
    found = os.lstat(path).st_mode
    if stat.S_ISLNK(found):
        raise NotADirectoryError(errno.ENOTDIR, "a symbolic link stands in a folder's place", path)
    return stat.S_ISDIR(found)


def working_folder() -> str:
    """The working folder; "" where it has been removed, so that no relative path leads anywhere."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def make_root(path: str, durability: Durability) -> None:
    """Make a folder that all else is to lie below, as durable as that will be. Raises OSError."""
    with open_group(durability, [path], files=1) as group:
        make_dirs(path, group)
        group.sync_names()


_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class StagedFile:
    """A complete temporary file that waits beside its target."""

    __slots__ = ("_clock", "status", "target", "temporary")

    def __init__(self, temporary: str, target: str, status: os.stat_result) -> None:
        self.temporary = temporary
        self.target = target
        self.status = status
        """Its own, now that it is complete: a rename changes no more of it than the ctime."""
        self._clock = 0
        """``file_clock()`` before it was published: until then nobody else knew the file."""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.status.st_size

    def publish(self, group: SyncGroup) -> None:
        """Rename over the target, after ``group.sync_data()``. OSError: the target is as it was,
        and the temporary is gone."""
        self._clock = file_clock()
        try:
            os.replace(self.temporary, self.target)
        except OSError as error:
            self.discard()
            raise OSError(error.errno, error.strerror, self.target) from error
        group.renamed(self.target)

    def fingerprint(self) -> Fingerprint | None:
        """Of the published file, for a cache. Never raises OSError.

        None where another file is there, or something may have changed this one since, or may yet change
        it, and leave its fingerprint as it is: within the clock tick of its last write or of the rename.
        """
        written, clock = Fingerprint.of(self.status), file_clock()
        with contextlib.suppress(OSError):
            found = Fingerprint.at(self.target)
            if found and found.is_renamed(written) and found.is_older_than(clock):
                return found if written.is_older_than(self._clock) else None
        return None

    def discard(self) -> None:
        """Remove the temporary; never raises, also where it is gone already."""
        _remove(self.temporary)


def stage(target: str, chunks: Iterable[bytes], group: SyncGroup, *, mode: int | None = None) -> StagedFile:
    """Write ``chunks`` to a new temporary file beside ``target``, whose folder must exist.

    ``mode``: permission bits to give it; None: those of any new file (0o666 less the umask).
    Raises OSError (also from closing it: that is where some file systems report a full disk)
    and whatever ``chunks`` raises; then no temporary is left behind. An OSError without a file
    name of its own is given the target's.
    """
    temporary = temporary_beside(target)
    try:
        status = _fill(temporary, chunks, group, mode)
    except OSError as error:
        if error.errno is None or error.filename not in (None, temporary):
            raise
        # Named by the target: equal causes are worded equally, and temporaries mean nothing to people.
        raise OSError(error.errno, error.strerror, target) from error
    return StagedFile(temporary, target, status)


def _fill(path: str, chunks: Iterable[bytes], group: SyncGroup, mode: int | None) -> os.stat_result:
    # With a mode to come, nobody else may open it before the mode is there.
    fd = os.open(path, _FLAGS, 0o666 if mode is None else 0o600)
    try:
        try:
            if mode is not None:
                os.fchmod(fd, mode)
            for block in _blocks(chunks):
                _write(fd, block)
            group.written(fd)
            status = os.fstat(fd)  # without a path to look up, and before anybody else knows the file
        finally:
            os.close(fd)
    except BaseException:
        _remove(path)
        raise
    return status


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Small chunks joined, so that many of them cost few writes."""
    pending: list[bytes] = []
    size = 0
    for chunk in chunks:
        pending.append(chunk)
        size += len(chunk)
        if size >= BLOCK:
            yield b"".join(pending)
            pending.clear()
            size = 0
    if pending:
        yield b"".join(pending)


def _write(fd: int, data: bytes) -> None:
    """All of ``data``, though one write(2) may take only a part of it."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, memoryview(data)[done:])


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def commit(staged: StagedFile, group: SyncGroup) -> None:
    """Publish the one file of a group between the group's two barriers.

    OSError: before the rename the target is as it was and the temporary is gone; after it
    (a folder that could not be synced) the target is new, but not durable.
    """
    try:
        group.sync_data()
    except OSError:
        staged.discard()
        raise
    staged.publish(group)
    group.sync_names()


def write(target: str, data: bytes, durability: Durability) -> None:
    """Write one whole file (its folder is made), durable when this returns unless NONE was asked for.

    Raises OSError as ``commit`` does.
    """
    write_chunks(target, (data,), durability)


def write_chunks(target: str, chunks: Iterable[bytes], durability: Durability) -> None:
    """The same for a file that comes in pieces."""
    folder = os.path.dirname(target) or os.curdir
    with open_group(durability, [folder], files=1) as group:
        make_dirs(folder, group)
        commit(stage(target, chunks, group), group)
