"""A task's manifests, each with the folder that it lies in."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..errors import InvalidRunError, MissingKeyError, UnsafeIdentifierError
from ..layout import Layout
from ..runs.identifiers import check_run_id
from ..runs.orchestrator_root import KEPT_BESIDE_MANIFEST, KEPT_BESIDE_RUNS, MANIFEST, NOT_RUNS
from ..runs.run_texts import RunCheck, WrongIdError
from .comparison import UNKNOWN
from .files import WrongFileTypeError, list_folder, read_file
from .inventory import beside, unsafe
from .models import Finding, Kind

_RUN_FILES = {MANIFEST, *KEPT_BESIDE_MANIFEST}


class Manifests:
    """The manifests of one task. Nothing is raised for what cannot be read: that is a finding."""

    def __init__(
        self, layout: Layout, task_id: str, check: RunCheck, found: Callable[[Finding], None]
    ) -> None:
        self._layout = layout
        self._task_id = task_id
        self._check = check
        self._found = found
        self.folders: set[str] = set()
        """Ids of the runs that have a folder."""
        self._are_listed = False

    def list_folders(self, beside_them: Callable[[Finding], None]) -> None:
        """Find the runs' folders; ``beside_them`` hears of what else lies there."""
        path = self._layout.task_runs_dir(self._task_id)
        try:
            entries = list_folder(path)
        except (OSError, WrongFileTypeError) as error:
            self._failed("", path, error)
            return
        self._are_listed = True
        for entry in entries:
            if entry.name in NOT_RUNS and not os.path.lexists(os.path.join(entry.path, MANIFEST)):
                continue  # it may be a run's id all the same
            if entry.is_dir(follow_symlinks=False) or entry.is_symlink():
                try:
                    check_run_id(entry.name)
                    self.folders.add(entry.name)
                except UnsafeIdentifierError as error:
                    beside_them(unsafe(entry, error, self._task_id))
            elif entry.name not in KEPT_BESIDE_RUNS:
                for finding in beside(entry, self._task_id):
                    beside_them(finding)

    def raw(self, run_id: str) -> bytes | None:
        """Of a run's manifest, as they stand; None where they cannot be had. Tells nothing."""
        try:
            return self._read(run_id) if run_id in self.folders else None
        except (OSError, WrongFileTypeError):
            return None

    def text(self, run_id: str, expected: bytes | None) -> bytes | None:
        """A run's canonical text; None where it has no manifest, UNKNOWN where it is not to be had.

        ``expected``: the text of this very run, elsewhere: a manifest that holds the same is not looked into.
        """
        if not self._are_listed:
            return UNKNOWN
        if run_id not in self.folders:
            return None
        path = self._layout.manifest(self._task_id, run_id)
        try:
            if run_id not in NOT_RUNS:
                self._look_beside(run_id)
            data = self._read(run_id)
            if data is None or data == expected:
                return data
            text = self._check.canonical(data, self._task_id, run_id)
        except (OSError, WrongFileTypeError, InvalidRunError) as error:
            self._failed(run_id, path, error)
            return UNKNOWN
        if text != data:
            self._found(Finding(Kind.OTHER_LAYOUT, self._task_id, run_id, path))
        return text

    def _read(self, run_id: str) -> bytes | None:
        return read_file(self._layout.manifest(self._task_id, run_id))

    def _look_beside(self, run_id: str) -> None:
        """Of foreign files one is named for the whole folder: an orchestrator may keep many there."""
        foreign: list[Finding] = []
        for entry in list_folder(self._layout.run_dir(self._task_id, run_id)):
            if entry.name not in _RUN_FILES:
                for finding in beside(entry, self._task_id, run_id):
                    if finding.kind is Kind.FOREIGN_FILE:
                        foreign.append(finding)
                    else:
                        self._found(finding)
        if foreign:
            more = f"and {len(foreign) - 1:,} more in this folder" if len(foreign) > 1 else ""
            self._found(foreign[0]._replace(detail=more))

    def _failed(self, run_id: str, path: str, error: Exception) -> None:
        self._found(finding_of(error, self._task_id, run_id, path))


def finding_of(error: Exception, task_id: str, run_id: str, path: str) -> Finding:
    """What is to be said of a file or folder that could not be read, or not as what it should be."""
    if isinstance(error, WrongFileTypeError):
        return Finding(Kind.WRONG_FILE_TYPE, task_id, run_id, error.detail, error.message)
    if isinstance(error, OSError):
        return Finding(Kind.UNREADABLE, task_id, run_id, path, error.strerror or "")
    kind = Kind.LACKS_KEYS if isinstance(error, MissingKeyError) else Kind.INVALID_MANIFEST
    kind = Kind.WRONG_ID if isinstance(error, WrongIdError) else kind
    return Finding(kind, task_id, run_id, path, str(error))
