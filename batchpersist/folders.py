"""Making folders: one system call where the folder above stands."""

from __future__ import annotations

import os

from .durability import SyncGroup, open_group
from .models import Durability


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


def make_root(path: str, durability: Durability) -> None:
    """Make a folder that all else is to lie below, as durable as that will be. Raises OSError."""
    with open_group(durability, [path], files=1) as group:
        make_dirs(path, group)
        group.sync_names()
