"""Opens files without following links or waiting for a pipe, and reads them in blocks of one size."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from typing import Protocol

from ..errors import ItemError

BLOCK = 256 << 10
"""Bytes of a read: enough to outweigh a system call, and within the processor's cache."""


class Readable(Protocol):
    """Bytes that can be read at any position."""

    def read(self, size: int, offset: int) -> bytes:
        """``size`` bytes from ``offset`` on; fewer only where they end."""


class FileBytes:
    """The bytes of an open file; the caller closes it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def size(self) -> int:
        """Bytes that the file has now."""
        return os.fstat(self._descriptor).st_size


class MemoryBytes:
    """Bytes that are in memory already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, offset: int) -> bytes:
        return self._data[offset : offset + size]


def read_blocks(source: Readable, start: int = 0, stop: int = sys.maxsize) -> Iterator[bytes]:
    """The bytes ``start:stop``, at most ``BLOCK`` at a time; it ends early where the source does."""
    while start < stop and (block := source.read(min(BLOCK, stop - start), start)):
        yield block
        start += len(block)


# O_NONBLOCK: a pipe in the place of a file must not make the open wait for its writer.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_REFUSALS = {errno.ELOOP, errno.ENXIO, errno.EOPNOTSUPP, errno.ENOTSUP}
"""How open(2) refuses a symbolic link (ELOOP) and a socket (ENXIO on Linux, the others on macOS)."""


class NotRegularFileError(OSError):
    """Something else is in the place of a regular file. Its errno is ELOOP for a symbolic link, EISDIR for a
    folder and ENXIO for a pipe, a socket or a device."""


class WrongFileTypeError(ItemError):
    """Something else is in the place of a file or a folder; ``detail`` is its path."""


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """A descriptor to read a regular file, which the caller closes, and the file's status.

    Never waits, and never follows a symbolic link at ``path``. Raises NotRegularFileError and OSError.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in _REFUSALS:
            raise _not_regular(os.lstat(path).st_mode, path) from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular(status.st_mode, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def read_file(path: str) -> bytes | None:
    """A file's whole content; None where nothing is at ``path``.

    Raises WrongFileTypeError where it is not a regular file, and OSError.
    """
    try:
        fd, status = open_regular(path)
    except FileNotFoundError:
        return None
    except NotRegularFileError as error:
        raise WrongFileTypeError(str(error.strerror), path) from error
    try:
        return _read(fd, status.st_size)
    except OSError as error:
        error.filename = path  # a read knows its descriptor only
        raise
    finally:
        os.close(fd)


def _read(fd: int, size: int) -> bytes:
    """To its end: it may grow or shrink while it is read. The common case is two calls."""
    file = FileBytes(fd)
    data = file.read(size + 1, 0)
    return data if len(data) == size else data + b"".join(read_blocks(file, len(data)))


def check_is_file(path: str) -> None:
    """Raise WrongFileTypeError where something other than a regular file is at ``path``, and OSError."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise WrongFileTypeError(f"{kind_of(mode)} stands in the place of a file", path)


def list_folder(path: str, *, follow: bool = False) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted by name; none where nothing is at ``path``.

    Raises WrongFileTypeError where it is not a folder (nor, with ``follow``, a link to one), and OSError.
    """
    try:
        mode = os.stat(path, follow_symlinks=follow).st_mode
        if not stat.S_ISDIR(mode):
            raise WrongFileTypeError(f"{kind_of(mode)} stands in the place of a folder", path)
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def _not_regular(mode: int, path: str) -> NotRegularFileError:
    """The error for what has this ``st_mode`` and is in the place of a file."""
    code = errno.ELOOP if stat.S_ISLNK(mode) else errno.EISDIR if stat.S_ISDIR(mode) else errno.ENXIO
    return NotRegularFileError(code, f"{kind_of(mode)} stands in the place of a file", path)


def kind_of(mode: int) -> str:
    """What has this ``st_mode``, for people."""
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return (
        "a folder" if stat.S_ISDIR(mode) else "a file" if stat.S_ISREG(mode) else "a pipe, socket or device"
    )
