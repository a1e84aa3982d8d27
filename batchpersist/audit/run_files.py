"""The files that a task's runs have each to themselves: manifests, and the orchestrator's run summaries."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..contract.identifiers import check_run_id
from ..contract.run_parser import OtherEventError, RunChecker, WrongIdError
from ..contract.runs_root import (
    CLI,
    KEPT_BESIDE_MANIFEST,
    KEPT_BESIDE_RUNS,
    MANIFEST,
    NOT_RUNS,
    linked_run_folders,
    summary_of,
)
from ..errors import InvalidRunError, ItemError, MissingKeyError, UnsafeIdentifierError
from ..paths import Layout
from ..storage.file_reader import WrongFileTypeError, list_folder, read_file
from .check_run import UNREADABLE
from .inventory import check_other_file, unsafe_name
from .models import Finding, FindingKind

_RUN_FILES = {MANIFEST, *KEPT_BESIDE_MANIFEST}


class RunFiles:
    """The manifests and run summaries of one task.

    A file or folder that cannot be read becomes a finding; nothing is raised for it. Of a run's folder
    below ``cli/`` only the summary is opened, for some other files in it are secret.
    """

    def __init__(self, layout: Layout, task_id: str, checker: RunChecker, findings: list[Finding]) -> None:
        """``findings``: the list to which what is wrong with a run's files is added."""
        self._layout = layout
        self._folder = layout.task_runs_dir(task_id)
        self._task_id = task_id
        self._checker = checker
        self._findings = findings
        self.with_manifest: set[str] = set()
        """Ids of the runs that have a folder for a manifest; not each contains one."""
        self.with_summary: set[str] = set()
        """Ids of the runs that have a folder for a summary; not each has completed."""
        self._is_listed = False

    @property
    def run_ids(self) -> set[str]:
        """Ids of all runs that have a folder."""
        return self.with_manifest | self.with_summary

    def list_folders(self) -> list[Finding]:
        """Find the folders of the runs; returns the findings that concern the task as a whole."""
        return [*self._list_manifests(), *self._list_summaries()]

    def _list_manifests(self) -> Iterator[Finding]:
        try:
            entries = list_folder(self._folder)
        except (OSError, WrongFileTypeError) as error:
            yield finding_of(error, self._task_id, "", self._folder)
            return
        self._is_listed = True
        for entry in entries:
            if entry.name in NOT_RUNS and not os.path.lexists(os.path.join(entry.path, MANIFEST)):
                continue  # with a manifest in it, it is a run with this id
            if entry.is_dir(follow_symlinks=False) or entry.is_symlink():
                try:
                    check_run_id(entry.name)
                    self.with_manifest.add(entry.name)
                except UnsafeIdentifierError as error:
                    yield unsafe_name(entry, error, self._task_id)
            elif entry.name not in KEPT_BESIDE_RUNS:
                yield from check_other_file(entry, self._task_id)

    def _list_summaries(self) -> Iterator[Finding]:
        path = os.path.join(self._folder, CLI)
        try:
            for link in linked_run_folders(self._folder):
                at = os.path.join(self._folder, link)
                detail = "a symbolic link stands in the place of a folder"
                yield Finding(FindingKind.WRONG_FILE_TYPE, self._task_id, "", at, detail)
            names = [entry.name for entry in list_folder(path) if entry.is_dir(follow_symlinks=False)]
        except WrongFileTypeError:
            return  # the orchestrator's root has a folder there
        except OSError as error:
            yield Finding(FindingKind.UNREADABLE, self._task_id, "", path, error.strerror or "")
            return
        for name in names:
            try:
                check_run_id(name)
                self.with_summary.add(name)
            except UnsafeIdentifierError:
                continue  # the folder is the orchestrator's own

    # -- Manifests ----------------------------------------------------------------------------------------

    def manifest(self, run_id: str, expected: bytes | None) -> bytes | None:
        """The canonical text of a run's manifest; None where it has none, UNREADABLE where that fails.

        ``expected``: the run's text on another side: a manifest with the same bytes is not parsed.
        """
        if not self._is_listed:
            return UNREADABLE
        if run_id not in self.with_manifest:
            return None
        path = self._layout.manifest(self._task_id, run_id)
        try:
            if run_id not in NOT_RUNS:
                self._check_run_folder(run_id)
            data = read_file(path)
            if data is None or data == expected:
                return data
            text = self._checker.canonical(data, self._task_id, run_id)
        except (OSError, WrongFileTypeError, InvalidRunError) as error:
            self._findings.append(finding_of(error, self._task_id, run_id, path))
            return UNREADABLE
        if text != data:
            self._findings.append(Finding(FindingKind.OTHER_LAYOUT, self._task_id, run_id, path))
        return text

    def manifest_bytes(self, run_id: str) -> bytes | None:
        """The bytes of a run's manifest, unchecked; None where they cannot be read. Adds no finding."""
        try:
            path = self._layout.manifest(self._task_id, run_id)
            return read_file(path) if run_id in self.with_manifest else None
        except (OSError, WrongFileTypeError):
            return None

    def _check_run_folder(self, run_id: str) -> None:
        """Of foreign files one is named for the whole folder: an orchestrator may keep many there."""
        foreign: list[Finding] = []
        for entry in list_folder(self._layout.run_dir(self._task_id, run_id)):
            if entry.name not in _RUN_FILES:
                for finding in check_other_file(entry, self._task_id, run_id):
                    is_foreign = finding.kind is FindingKind.FOREIGN_FILE
                    (foreign if is_foreign else self._findings).append(finding)
        if foreign:
            more = f"and {len(foreign) - 1:,} more in this folder" if len(foreign) > 1 else ""
            self._findings.append(foreign[0]._replace(detail=more))

    # -- Run summaries ------------------------------------------------------------------------------------

    def summary(self, run_id: str, expected: bytes | None = None) -> bytes | None:
        """The canonical text of a run's summary; None where it has none, UNREADABLE where that fails.

        The summary of a command that was executed is not one of a run. One of another task or run counts
        as unreadable: otherwise nothing would report that the run it names is nowhere. ``expected``: as
        for a manifest.
        """
        if run_id not in self.with_summary:
            return None
        path = os.path.join(self._folder, summary_of(run_id))
        try:
            data = read_file(path)
            if data is None or data.removesuffix(b"\n") == expected:
                return data and expected
            return self._checker.canonical(data, self._task_id, run_id)
        except OtherEventError:
            return None
        except InvalidRunError as error:
            self._findings.append(
                Finding(FindingKind.INVALID_SOURCE, self._task_id, run_id, path, str(error))
            )
        except (OSError, WrongFileTypeError) as error:
            self._findings.append(finding_of(error, self._task_id, run_id, path))
        return UNREADABLE

    # -- For a repair: what can be read, without findings --------------------------------------------------

    def readable_manifest(self, run_id: str) -> bytes | None:
        """The canonical text of a run's manifest; None where it has none that is this run."""
        try:
            data = self.manifest_bytes(run_id)
            return data and self._checker.canonical(data, self._task_id, run_id)
        except InvalidRunError:
            return None

    def readable_summary(self, run_id: str) -> bytes | None:
        """The canonical text of a run's summary; None where it has none that is this run."""
        text = self.summary(run_id)
        return None if text == UNREADABLE else text


def finding_of(error: OSError | ItemError, task_id: str, run_id: str, path: str) -> Finding:
    """The finding for a file or folder that could not be read, or is not what it should be.

    An error of another file type names its path itself: it may be that of a folder on the way.
    """
    if isinstance(error, WrongFileTypeError):
        return Finding(FindingKind.WRONG_FILE_TYPE, task_id, run_id, error.detail, error.message)
    if isinstance(error, OSError):
        return Finding(FindingKind.UNREADABLE, task_id, run_id, path, error.strerror or "")
    kind = FindingKind.INVALID_MANIFEST
    if isinstance(error, MissingKeyError):
        kind = FindingKind.LACKS_KEYS
    elif isinstance(error, WrongIdError):
        kind = FindingKind.WRONG_ID
    return Finding(kind, task_id, run_id, path, str(error))
