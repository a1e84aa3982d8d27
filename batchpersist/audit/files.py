"""Looking at files and folders that others may be changing: nothing is followed, nothing waits."""

from __future__ import annotations

import os
import stat

from ..errors import ItemError
from ..files.blocks import FileBytes, read_blocks
from ..files.opening import NotRegularFileError, kind_of, open_regular


class WrongFileTypeError(ItemError):
    """Something else stands in the place of a file or a folder; it is not followed."""


def read_file(path: str) -> bytes | None:
    """A file's whole content; None where nothing is at ``path``.

    Raises WrongFileTypeError where it is no regular file, and OSError.
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

    Raises WrongFileTypeError where it is no folder (nor, with ``follow``, a link to one), and OSError.
    """
    try:
        mode = os.stat(path, follow_symlinks=follow).st_mode
        if not stat.S_ISDIR(mode):
            raise WrongFileTypeError(f"{kind_of(mode)} stands in the place of a folder", path)
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
