"""Copies of what repairs replace, in ``<runs-dir>/.batchpersist/repair/<repair-id>/`` (docs/audit.md)."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone

from ..models import Durability
from ..paths import Layout
from ..storage.atomic_write import commit, make_dirs, refuse_link, stage
from ..storage.fsync import open_group

REPLACED = "replaced"
SET_ASIDE = "set-aside"
_FINISHED = "finished"
"""An empty file: the repair finished, so the next one may remove what it replaced."""


@dataclass(frozen=True)
class Backup:
    """The copies of one repair. Picklable; several workers may add copies at once."""

    layout: Layout
    folder: str
    """It exists once there is a copy in it."""
    durability: Durability

    def add(self, path: str, content: Iterable[bytes], *, is_whole: bool) -> None:
        """Copy the content of the file at ``path``, below one of the roots; durable when it returns.

        ``is_whole``: all of it could be read, so that a later repair may remove the copy. Raises OSError.
        """
        kind = REPLACED if is_whole else SET_ASIDE
        target = _unused(os.path.join(self.folder, kind, *self._below_root(path)))
        with open_group(self.durability, [self.folder], files=1) as group:
            make_dirs(os.path.dirname(target), group)
            commit(stage(target, content, group), group)

    def _below_root(self, path: str) -> tuple[str, str]:
        for name, root in (("out", self.layout.out_dir), ("runs", self.layout.runs_dir)):
            if path.startswith(os.path.join(root, "")):
                return name, os.path.relpath(path, root)
        raise ValueError(f"below neither root: {path}")


def _unused(path: str) -> str:
    """The path, or one with a number where a copy exists: a file may be replaced in several rounds."""
    stem, suffix = os.path.splitext(path)
    number = 1
    while os.path.lexists(path):
        number += 1
        path = f"{stem}.{number}{suffix}"
    return path


def new_backup(layout: Layout, durability: Durability) -> Backup:
    """The backup of a new repair; makes no folder. For the owner of the batch lock."""
    now = datetime.now(timezone.utc)
    repair_id = f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{secrets.token_hex(3)}"
    return Backup(layout, os.path.join(layout.repairs, repair_id), durability)


def remove_old_copies(layout: Layout) -> None:
    """Remove what finished repairs have replaced, before a further repair replaces its first file.

    What was set aside stays: it may hold runs that could not be read. So does what an interrupted repair
    replaced, until a later one has finished. Raises OSError.
    """
    refuse_link(layout.repairs)
    for folder in _folders(layout):
        if os.path.exists(os.path.join(folder, _FINISHED)):
            shutil.rmtree(os.path.join(folder, REPLACED), ignore_errors=True)
            if not os.path.exists(os.path.join(folder, SET_ASIDE)):
                shutil.rmtree(folder, ignore_errors=True)


def mark_finished(layout: Layout) -> None:
    """Mark all repairs as finished: a repair that finishes has also done what was interrupted before."""
    for folder in _folders(layout):
        with suppress(OSError), open(os.path.join(folder, _FINISHED), "wb"):
            pass


def _folders(layout: Layout) -> Iterator[str]:
    with suppress(FileNotFoundError), os.scandir(layout.repairs) as entries:
        yield from sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
