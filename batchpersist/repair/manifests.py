"""Writing the manifests of one task that are missing or wrong, and setting aside what is none."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice

from ..audit.files import WrongFileTypeError, read_file
from ..errors import InvalidRunError, ItemError, MissingKeyError
from ..files.atomic import StagedFile
from ..files.durability import SyncGroup, open_group
from ..files.versions import Version, version_of
from ..runs.jsontext import unnest
from ..runs.run_texts import RunCheck, WrongIdError
from ..snapshots.baseline import Baseline
from ..snapshots.history import History
from ..snapshots.snapshottext import ENTRY_LEVELS
from .backup import Keeper
from .options import RepairOptions
from .placement import Strays, same_file
from .publishing import publish_new, publish_over, stage_manifest
from .recovery import own_text

GROUP = 500
"""Manifests that are synced together."""

_Staged = tuple[StagedFile, "Version | None"]
"""With the version of the manifest whose place it is to take, if there is one."""


class ManifestRepair:
    """Repairs manifests of one task. What is replaced is kept; what others write meanwhile stays."""

    def __init__(
        self,
        task_id: str,
        options: RepairOptions,
        keeper: Keeper,
        strays: Strays,
        failed: Callable[[Exception], None],
    ) -> None:
        self._task_id = task_id
        self._options = options
        self._layout = options.audit.layout
        self._keeper = keeper
        self._strays = strays
        self._failed = failed
        self._check = RunCheck(options.audit.keys)

    def mend(self, run_id: str) -> bool:
        """Of a manifest that is no run, or another: write what can be read of it, or move it to its place.

        True where it is right now, and stays. Otherwise it is set aside, if all that it holds is kept, for
        ``write`` to write it anew where the snapshot has the run. Raises OSError.
        """
        path = self._layout.manifest(self._task_id, run_id)
        before = version_of(path)
        try:
            data = read_file(path)
            if data is None:
                return False
            return self._mend_invalid(run_id, path, data, before)
        except WrongFileTypeError:
            return False

    def _mend_invalid(self, run_id: str, path: str, data: bytes, before: Version | None) -> bool:
        try:
            self._check.canonical(data, self._task_id, run_id)
        except WrongIdError:
            if self._is_in_its_place(path, data):
                self._set_aside(path, data, before, whole=True)
            return False
        except MissingKeyError:  # it parses, and may be read with other keys
            return False
        except InvalidRunError:
            return self._mend_torn(run_id, path, data, before)
        return True  # somebody has written it meanwhile

    def _is_in_its_place(self, path: str, data: bytes) -> bool:
        try:
            keys, text = self._check.read(data)
        except InvalidRunError:  # an id that has no place
            return False
        # Its place must be another one, for this one is emptied.
        is_elsewhere = not same_file(path, self._layout.manifest(keys.task_id, keys.run_id))
        return is_elsewhere and self._strays.place(keys, text)

    def _mend_torn(self, run_id: str, path: str, data: bytes, before: Version | None) -> bool:
        try:
            text = self._check.canonical(own_text(data) or b"", self._task_id, run_id)
        except InvalidRunError:
            self._set_aside(path, data, before, whole=False)
            return False
        self._keeper.keep(path, (data,), whole=False)
        with open_group(self._options.durability, [self._layout.runs_dir], files=1) as group:
            staged = stage_manifest(self._layout, self._task_id, run_id, text, group, _mode(path))
            group.sync_data()
            done = publish_over(staged, before, group)
            group.sync_names()
        return done

    def _set_aside(self, path: str, data: bytes, before: Version | None, *, whole: bool) -> None:
        self._keeper.keep(path, (data,), whole=whole)
        with open_group(self._options.durability, [self._layout.runs_dir], files=1) as group:
            if version_of(path) == before:
                os.unlink(path)
                folder = os.path.dirname(path)
                group.renamed(path if _has_more(folder) else folder)
            group.sync_names()

    def write(self, missing: set[str], differing: set[str]) -> None:
        """Write manifests from the entries of the snapshot: those that are not there, and those that differ.

        One that fails does not stop the others: ``failed`` hears of it. Raises SnapshotError and OSError;
        what was written by then stands.
        """
        with closing(Baseline()) as baseline:
            history = baseline.load(self._layout, self._task_id, self._options.audit.keys, cache=False)
            wanted = (
                (run_id, entry)
                for entry, run_id in enumerate(history.entries.run_ids)
                if run_id in missing or run_id in differing
            )
            while some := list(islice(wanted, GROUP)):
                self._write(some, history, differing)

    def _write(self, some: list[tuple[str, int]], history: History, differing: set[str]) -> None:
        staged: list[_Staged] = []
        with open_group(self._options.durability, [self._layout.runs_dir], files=len(some)) as group:
            try:
                for run_id, entry in some:
                    with self._telling():
                        text = unnest(history.text(entry), ENTRY_LEVELS)
                        if run_id in differing and self._stands(run_id, text):
                            continue
                        before = self._keep(run_id) if run_id in differing else None
                        staged.append((self._stage(run_id, text, group), before))
                group.sync_data()
                for file, before in staged:
                    with self._telling():
                        publish_over(file, before, group) if before else publish_new(file, group)
                group.sync_names()
            finally:
                for file, _ in staged:
                    file.discard()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (ItemError, OSError) as error:
            self._failed(error)

    def _stage(self, run_id: str, text: bytes, group: SyncGroup) -> StagedFile:
        mode = _mode(self._layout.manifest(self._task_id, run_id))
        return stage_manifest(self._layout, self._task_id, run_id, text, group, mode)

    def _stands(self, run_id: str, text: bytes) -> bool:
        return read_file(self._layout.manifest(self._task_id, run_id)) == text

    def _keep(self, run_id: str) -> Version | None:
        """The version of a manifest, of which there is a copy now; None where there is none."""
        path = self._layout.manifest(self._task_id, run_id)
        before = version_of(path)
        data = read_file(path)
        if data is not None:
            self._keeper.keep(path, (data,), whole=True)
        return before


def _has_more(folder: str) -> bool:
    """Whether a folder is not empty; removes it otherwise."""
    try:
        os.rmdir(folder)
    except OSError:
        return True
    return False


def _mode(path: str) -> int | None:
    try:
        return stat.S_IMODE(os.lstat(path).st_mode)
    except FileNotFoundError:
        return None
