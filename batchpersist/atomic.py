"""Files that appear whole or not at all: staged beside their target, then renamed over it."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
from collections.abc import Iterable, Iterator

from .durability import SyncGroup, open_group
from .layout import TEMPORARY_MARK
from .models import Durability

_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_BLOCK = 1 << 20
"""Smaller chunks are joined up to this size (bytes), so that many of them cost few writes."""


class StagedFile:
    """A complete temporary file that waits beside its target."""

    __slots__ = ("size", "target", "temporary")

    def __init__(self, temporary: str, target: str, size: int) -> None:
        self.temporary = temporary
        self.target = target
        self.size = size
        """Bytes."""

    def publish(self, group: SyncGroup) -> None:
        """Rename over the target, after ``group.sync_data()``. OSError: the target is as it was,
        and the temporary is gone."""
        try:
            os.replace(self.temporary, self.target)
        except OSError:
            self.discard()
            raise
        group.renamed(self.target)

    def discard(self) -> None:
        """Remove the temporary; never raises, also where it is gone already."""
        _remove(self.temporary)


class _Suffixes:
    """Hexadecimal strings that no other process, thread or host makes."""

    def __init__(self) -> None:
        self._serial = itertools.count()  # next() of it is atomic
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._process = secrets.token_hex(8)

    def next(self) -> str:
        return f"{self._process}{next(self._serial):x}"


_suffixes = _Suffixes()


def stage(target: str, chunks: Iterable[bytes], group: SyncGroup, *, mode: int | None = None) -> StagedFile:
    """Write ``chunks`` to a new temporary file beside ``target``, whose folder must exist.

    ``mode``: permission bits to give it; None: those of any new file (0o666 less the umask).
    Raises OSError (also from closing it: that is where some file systems tell of a full disk)
    and whatever ``chunks`` raises; then no temporary is left behind.
    """
    temporary = f"{target}{TEMPORARY_MARK}{_suffixes.next()}"
    # With a mode to come, nobody else may open it before the mode is there.
    fd = os.open(temporary, _FLAGS, 0o666 if mode is None else 0o600)
    try:
        try:
            if mode is not None:
                os.fchmod(fd, mode)
            size = sum(_write(fd, block) for block in _blocks(chunks))
            group.written(fd)
        finally:
            os.close(fd)
    except BaseException:
        _remove(temporary)
        raise
    return StagedFile(temporary, target, size)


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    pending: list[bytes] = []
    size = 0
    for chunk in chunks:
        pending.append(chunk)
        size += len(chunk)
        if size >= _BLOCK:
            yield b"".join(pending)
            pending.clear()
            size = 0
    if pending:
        yield b"".join(pending)


def _write(fd: int, data: bytes) -> int:
    """All of ``data``, though one write(2) may take only a part of it; returns its length."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, memoryview(data)[done:])
    return done


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def make_dirs(path: str, group: SyncGroup) -> bool:
    """Make the folder ``path`` and what is missing above it; safe beside others who do the same.

    True where ``path`` itself was made just now, so that there can be no older file in it.
    Raises OSError, where a file stands in the way for one.
    """
    missing = [path.rstrip(os.sep) or path]
    try:
        return _make_dir(missing[0], group)
    except FileNotFoundError:
        while not os.path.isdir(parent := os.path.dirname(missing[-1]) or os.curdir):
            missing.append(parent)
    made = False
    while missing:
        made = _make_dir(missing.pop(), group)
    return made


def _make_dir(path: str, group: SyncGroup) -> bool:
    """False where it stands already."""
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return False
    group.created(path)
    return True


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
    folder = os.path.dirname(target) or os.curdir
    with open_group(durability, [folder], files=1) as group:
        make_dirs(folder, group)
        commit(stage(target, (data,), group), group)
