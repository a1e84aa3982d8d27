"""Files that appear whole or not at all: staged beside their target, then renamed over it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from ..models import Durability
from .blocks import BLOCK
from .durability import SyncGroup, open_group
from .fingerprint import Fingerprint, file_clock
from .folders import make_dirs
from .temporaries import temporary_beside

__all__ = ["StagedFile", "commit", "make_dirs", "stage", "write", "write_chunks"]

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
    Raises OSError (also from closing it: that is where some file systems tell of a full disk)
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
