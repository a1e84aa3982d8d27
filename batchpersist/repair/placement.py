"""Putting manifests in place without overwriting what others write meanwhile: no lock protects them."""

from __future__ import annotations

import logging
import os
import stat

from ..contract.identifiers import check_run_id, check_task_id
from ..contract.run_parser import RunChecker, has_same_content
from ..errors import InvalidRunError, UnsafeIdentifierError
from ..models import RunKeys
from ..paths import Layout
from ..storage.atomic_write import StagedFile, make_dirs, refuse_link, stage
from ..storage.file_reader import WrongFileTypeError, read_file
from ..storage.fingerprint import Fingerprint
from ..storage.fsync import SyncGroup, open_group
from .fixes import RepairOptions

_log = logging.getLogger(__name__)


def stage_manifest(layout: Layout, task_id: str, run_id: str, text: bytes, group: SyncGroup) -> StagedFile:
    """Write a manifest's text to a temporary file beside its path, and make its folder.

    It gets the permission bits of the manifest that exists, if any. Raises OSError, also where a link is
    in the place of a folder.
    """
    path = layout.manifest(task_id, run_id)
    mode = _mode(path)
    refuse_link(layout.task_runs_dir(task_id))
    make_dirs(layout.run_dir(task_id, run_id), group, follow=False)
    return stage(path, (text,), group, mode=mode)


def publish_new(staged: StagedFile, group: SyncGroup) -> bool:
    """Put a file in place unless another process has written one there meanwhile. Raises OSError."""
    try:
        os.link(staged.temporary, staged.target)
    except FileExistsError:
        _log.debug("%s: not written, another process has written it meanwhile", staged.target)
        staged.discard()
        return False
    except OSError:  # this file system has no links
        return publish_over(staged, None, group)
    staged.discard()
    group.renamed(staged.target)
    return True


def publish_over(staged: StagedFile, before: Fingerprint | None, group: SyncGroup) -> bool:
    """Replace the file of this fingerprint (None: no file), unless it has another by now.

    Raises OSError; then, as where it replaces nothing, the staged file is removed.
    """
    try:
        is_same = Fingerprint.at(staged.target) == before
    except OSError:
        staged.discard()
        raise
    if not is_same:
        _log.debug("%s: not replaced, it has changed since it was read", staged.target)
        staged.discard()
        return False
    staged.publish(group)
    return True


def _mode(path: str) -> int | None:
    try:
        return stat.S_IMODE(os.lstat(path).st_mode)
    except FileNotFoundError:
        return None


def is_same_file(first: str, second: str) -> bool:
    """Whether two paths lead to one file or folder, as they may where the file system folds case."""
    return os.path.exists(first) and os.path.exists(second) and os.path.samefile(first, second)


class MisplacedRuns:
    """Writes runs that were found in a wrong place as manifests in their own place.

    Their snapshots are repaired in a later round: ``tasks`` says of which tasks.
    """

    def __init__(self, options: RepairOptions) -> None:
        self._durability = options.durability
        self._layout = options.audit.layout
        self._checker = RunChecker(options.audit.keys)
        self.tasks: set[str] = set()
        """Tasks that got a manifest."""
        self.unplaced: set[RunKeys] = set()
        """Runs that are only in a backup: they have no place, or it is taken, or cannot be written to."""

    def place(self, keys: RunKeys, text: bytes) -> bool:
        """Whether the run's own place has this text now. Never replaces what is there.

        False also where the place cannot be written or read, and where an id must not be part of a path, so
        that the run has no place.
        """
        try:
            check_task_id(keys.task_id)
            check_run_id(keys.run_id)
            is_placed = self._place(keys, text)
        except (UnsafeIdentifierError, OSError) as error:
            _log.debug("%s/%s: not moved: %s", keys.task_id, keys.run_id, error)
            return False
        if not is_placed:
            _log.debug("%s/%s: not moved, its place has another text", keys.task_id, keys.run_id)
        return is_placed

    def is_same_task(self, task_id: str, other: str) -> bool:
        """Whether the file system takes one task for the other."""
        return any(
            is_same_file(folder(task_id), folder(other))
            for folder in (self._layout.task_dir, self._layout.task_runs_dir)
        )

    def _place(self, keys: RunKeys, text: bytes) -> bool:
        target = self._layout.manifest(keys.task_id, keys.run_id)
        if self._existing(keys, target) is None:
            with open_group(self._durability, [self._layout.runs_dir], files=1) as group:
                staged = stage_manifest(self._layout, keys.task_id, keys.run_id, text, group)
                group.sync_data()
                publish_new(staged, group)
                group.sync_names()
            self.tasks.add(keys.task_id)
        return has_same_content(text, self._existing(keys, target) or b"")

    def _existing(self, keys: RunKeys, target: str) -> bytes | None:
        try:
            data = read_file(target)
            return data and self._checker.canonical(data, keys.task_id, keys.run_id)
        except (InvalidRunError, WrongFileTypeError):
            return b""
