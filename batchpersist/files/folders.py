"""Making folders: one system call where the folder above stands."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from ..models import Durability
from .durability import SyncGroup, open_group


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
    Raises OSError, where a file stands in the way for one.
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
    """False where it stands already."""
    try:
        os.mkdir(path)
    except FileExistsError:
        if not (os.path.isdir(path) if follow else _is_own_folder(path)):
            raise
        return False
    group.created(path)
    return True


def refuse_link(path: str) -> None:
    """Raise OSError where a symbolic link stands in the place of a folder: what is below it lies elsewhere.

    Whoever may plant one may write there anyway; but then it is not this process that does it for them.
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
