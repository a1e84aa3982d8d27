"""Copies of what repairs replace, below ``<runs-dir>/.batchpersist/repair/<repair-id>/`` (docs/audit.md)."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone

from ..files.atomic import commit, make_dirs, stage
from ..files.durability import open_group
from ..files.folders import refuse_link
from ..layout import Layout
from ..models import Durability

REPLACED = "replaced"
SET_ASIDE = "set-aside"
_FINISHED = "finished"
"""An empty file: the repair came to its end, and the next one need not keep what it replaced."""


@dataclass(frozen=True)
class Keeper:
    """Keeps files of one repair. Picklable, and usable by several workers at once."""

    layout: Layout
    folder: str
    durability: Durability

    def keep(self, path: str, content: Iterable[bytes], *, whole: bool) -> None:
        """Copy what stands at ``path``, below one of the roots; as durable as asked for when it returns.

        ``whole``: all of it could be read, so that the copy may go with the next repair. Raises OSError.
        """
        kind = REPLACED if whole else SET_ASIDE
        target = _free(os.path.join(self.folder, kind, *self._place(path)))
        with open_group(self.durability, [self.folder], files=1) as group:
            make_dirs(os.path.dirname(target), group)
            commit(stage(target, content, group), group)

    def _place(self, path: str) -> tuple[str, str]:
        for name, root in (("out", self.layout.out_dir), ("runs", self.layout.runs_dir)):
            if path.startswith(os.path.join(root, "")):
                return name, os.path.relpath(path, root)
        raise ValueError(f"below neither root: {path}")


def _free(path: str) -> str:
    """The path, or with a number where a copy stands there: a file may be replaced in several rounds."""
    stem, suffix = os.path.splitext(path)
    number = 1
    while os.path.lexists(path):
        number += 1
        path = f"{stem}.{number}{suffix}"
    return path


def begin(layout: Layout, durability: Durability) -> Keeper:
    """A keeper for a new repair, with no folder yet. For the holder of the batch lock."""
    now = datetime.now(timezone.utc)
    repair_id = f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{secrets.token_hex(3)}"
    return Keeper(layout, os.path.join(layout.repairs, repair_id), durability)


def drop_former(layout: Layout) -> None:
    """Remove what finished repairs have replaced, before the first file of another is replaced.

    What was set aside stays: nobody knows all that it held. So does what an interrupted repair replaced,
    until the next one has finished its work. Raises OSError.
    """
    refuse_link(layout.repairs)
    for folder in _folders(layout):
        if os.path.exists(os.path.join(folder, _FINISHED)):
            shutil.rmtree(os.path.join(folder, REPLACED), ignore_errors=True)
            if not os.path.exists(os.path.join(folder, SET_ASIDE)):
                shutil.rmtree(folder, ignore_errors=True)


def finish(layout: Layout) -> None:
    """All that was begun is done: by this repair, what was interrupted before included."""
    for folder in _folders(layout):
        with suppress(OSError), open(os.path.join(folder, _FINISHED), "wb"):
            pass


def _folders(layout: Layout) -> Iterator[str]:
    with suppress(FileNotFoundError), os.scandir(layout.repairs) as entries:
        yield from sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
