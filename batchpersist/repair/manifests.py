"""The repair of a task's manifests: those that are missing, differ, or are not a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice

from ..contract.json_text import unnest
from ..contract.run_parser import RunChecker, WrongIdError
from ..contract.snapshot_text import ENTRY_LEVELS
from ..errors import InvalidRunError, ItemError, MissingKeyError
from ..snapshots import Baseline, History
from ..storage.atomic_write import StagedFile
from ..storage.file_reader import WrongFileTypeError, read_file
from ..storage.fingerprint import Fingerprint
from ..storage.fsync import SyncGroup, open_group
from .backup import Backup
from .fixes import RepairOptions
from .placement import MisplacedRuns, is_same_file, publish_new, publish_over, stage_manifest
from .recovery import text_before_nuls

GROUP = 500
"""So many manifests are synced together."""

_Staged = tuple[StagedFile, "Fingerprint | None"]
"""With the fingerprint of the manifest that it replaces; None: it replaces none."""


class ManifestRepair:
    """Repairs manifests of one task. What it replaces is backed up; what others write meanwhile stays."""

    def __init__(
        self, task_id: str, options: RepairOptions, backup: Backup, misplaced: MisplacedRuns
    ) -> None:
        self._task_id = task_id
        self._options = options
        self._layout = options.audit.layout
        self._backup = backup
        self._misplaced = misplaced
        self._checker = RunChecker(options.audit.keys)
        self.errors: list[Exception] = []
        """Why single manifests could not be written."""

    # -- Manifests that are not the run of their place ------------------------------------------------------

    def rewrite(self, run_id: str) -> bool:
        """Repair a manifest that is not a run, or another run, by what can be read of it.

        True where it is valid now. Otherwise it is set aside if nothing of it is lost by that, so that
        ``write`` can write it from the snapshot. Raises OSError.
        """
        path = self._layout.manifest(self._task_id, run_id)
        before = Fingerprint.at(path)
        try:
            data = read_file(path)
        except WrongFileTypeError:
            return False
        return data is not None and self._rewrite(run_id, path, data, before)

    def _rewrite(self, run_id: str, path: str, data: bytes, before: Fingerprint | None) -> bool:
        try:
            self._checker.canonical(data, self._task_id, run_id)
        except WrongIdError:
            if self._move(path, data):
                self._set_aside(path, data, before, is_whole=True)
            return False
        except MissingKeyError:  # it parses, and may have the keys under other names
            return False
        except InvalidRunError:
            return self._rewrite_torn(run_id, path, data, before)
        return True  # another process has written it meanwhile

    def _move(self, path: str, data: bytes) -> bool:
        """Whether the run is in its own place now."""
        try:
            keys, text = self._checker.read(data)
        except InvalidRunError:  # an id without a place
            return False
        # Its own place must be another file, for this one is removed.
        is_elsewhere = not is_same_file(path, self._layout.manifest(keys.task_id, keys.run_id))
        return is_elsewhere and self._misplaced.place(keys, text)

    def _rewrite_torn(self, run_id: str, path: str, data: bytes, before: Fingerprint | None) -> bool:
        try:
            text = self._checker.canonical(text_before_nuls(data) or b"", self._task_id, run_id)
        except InvalidRunError:
            self._set_aside(path, data, before, is_whole=False)
            return False
        self._backup.add(path, (data,), is_whole=False)
        with open_group(self._options.durability, [self._layout.runs_dir], files=1) as group:
            staged = stage_manifest(self._layout, self._task_id, run_id, text, group)
            group.sync_data()
            is_published = publish_over(staged, before, group)
            group.sync_names()
        return is_published

    def _set_aside(self, path: str, data: bytes, before: Fingerprint | None, *, is_whole: bool) -> None:
        self._backup.add(path, (data,), is_whole=is_whole)
        with open_group(self._options.durability, [self._layout.runs_dir], files=1) as group:
            if Fingerprint.at(path) == before:
                os.unlink(path)
                folder = os.path.dirname(path)
                group.renamed(folder if _remove_if_empty(folder) else path)
            group.sync_names()

    # -- Manifests that are missing, or differ ---------------------------------------------------------------

    def write(self, missing: set[str], differing: set[str]) -> None:
        """Write manifests from the entries of the snapshot: missing ones, and ones that differ.

        One that fails does not stop the others: its error goes to ``errors``. Raises SnapshotError and
        OSError; what was written by then stays.
        """
        with closing(Baseline()) as baseline:
            history = baseline.load(self._layout, self._task_id, self._options.audit.keys, cache=False)
            wanted = (
                (run_id, entry)
                for entry, run_id in enumerate(history.entries.run_ids)
                if run_id in missing or run_id in differing
            )
            while runs := list(islice(wanted, GROUP)):
                self._write_group(runs, history, differing)

    def _write_group(self, runs: list[tuple[str, int]], history: History, differing: set[str]) -> None:
        staged: list[_Staged] = []
        with open_group(self._options.durability, [self._layout.runs_dir], files=len(runs)) as group:
            try:
                for run_id, entry in runs:
                    with self._collect_errors():
                        text = unnest(history.text(entry), ENTRY_LEVELS)
                        if file := self._stage(run_id, text, group, is_there=run_id in differing):
                            staged.append(file)
                group.sync_data()
                for new, before in staged:
                    with self._collect_errors():
                        publish_over(new, before, group) if before else publish_new(new, group)
                group.sync_names()
            finally:
                for new, _ in staged:
                    new.discard()

    @contextmanager
    def _collect_errors(self) -> Iterator[None]:
        try:
            yield
        except (ItemError, OSError) as error:
            self.errors.append(error)

    def _stage(self, run_id: str, text: bytes, group: SyncGroup, *, is_there: bool) -> _Staged | None:
        """None where the manifest that is there has the text already."""
        before = None
        if is_there:
            path = self._layout.manifest(self._task_id, run_id)
            if read_file(path) == text:
                return None
            before = self._back_up(path)
        return stage_manifest(self._layout, self._task_id, run_id, text, group), before

    def _back_up(self, path: str) -> Fingerprint | None:
        """Copy a manifest; returns its fingerprint, None where there is no manifest."""
        before = Fingerprint.at(path)
        data = read_file(path)
        if data is not None:
            self._backup.add(path, (data,), is_whole=True)
        return before


def _remove_if_empty(folder: str) -> bool:
    """Whether the folder was empty, and is removed."""
    try:
        os.rmdir(folder)
    except OSError:
        return False
    return True
