"""Runs that were found in a place that is not theirs: put where they belong, if nothing stands there."""

from __future__ import annotations

import os

from ..audit.check_task import is_alike
from ..audit.files import WrongFileTypeError, read_file
from ..errors import InvalidRunError, UnsafeIdentifierError
from ..files.durability import open_group
from ..models import RunKeys
from ..runs.identifiers import check_run_id, check_task_id
from ..runs.run_texts import RunCheck
from .options import RepairOptions
from .publishing import publish_new, stage_manifest


def same_file(first: str, second: str) -> bool:
    """Whether two names lead to one file or folder, as they may where the file system folds case."""
    return os.path.exists(first) and os.path.exists(second) and os.path.samefile(first, second)


class Strays:
    """Puts runs in their place, as manifests; their snapshots are another matter (``tasks``)."""

    def __init__(self, options: RepairOptions) -> None:
        self._options = options
        self._layout = options.audit.layout
        self._check = RunCheck(options.audit.keys)
        self.tasks: set[str] = set()
        """Of which there are runs that had not stood in their place: to be looked at once more."""
        self.left: set[RunKeys] = set()
        """Runs that are kept in a copy only: they have no place, or it is taken, or cannot be written to."""

    def place(self, keys: RunKeys, text: bytes) -> bool:
        """Whether a run stands in its place now, with this text.

        What stands there is never replaced. False also where it cannot be written or read, and where an id
        must not be part of a path, so that the run has no place.
        """
        try:
            check_task_id(keys.task_id)
            check_run_id(keys.run_id)
            return self._place(keys, text)
        except (UnsafeIdentifierError, OSError):
            return False

    def _place(self, keys: RunKeys, text: bytes) -> bool:
        target = self._layout.manifest(keys.task_id, keys.run_id)
        if self._standing(keys, target) is None:
            with open_group(self._options.durability, [self._layout.runs_dir], files=1) as group:
                staged = stage_manifest(self._layout, keys.task_id, keys.run_id, text, group)
                group.sync_data()
                publish_new(staged, group)
                group.sync_names()
            self.tasks.add(keys.task_id)
        return is_alike(text, self._standing(keys, target) or b"")

    def _standing(self, keys: RunKeys, target: str) -> bytes | None:
        try:
            data = read_file(target)
            return data and self._check.canonical(data, keys.task_id, keys.run_id)
        except (InvalidRunError, WrongFileTypeError):
            return b""
