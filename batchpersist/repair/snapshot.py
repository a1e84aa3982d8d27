"""The repair of a task's snapshot: written new from all runs of the task that can be read, in order."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, closing

from ..audit import RunFiles
from ..contract.run_parser import RunChecker
from ..contract.snapshot_text import limited
from ..errors import SnapshotError
from ..locks import TaskLock
from ..snapshots import ATTEMPTS, Baseline, Composition, Entries, History, RunsLeftOutError
from ..storage.atomic_write import StagedFile, make_dirs, stage
from ..storage.fingerprint import Fingerprint
from ..storage.fsync import SyncGroup, open_group
from .backup import Backup
from .collection import RunCollection, SnapshotChanges
from .fixes import RepairOptions
from .placement import MisplacedRuns

_log = logging.getLogger(__name__)


class SnapshotRepair:
    """Replaces one task's snapshot, beside others who record runs in it."""

    def __init__(
        self,
        task_id: str,
        options: RepairOptions,
        backup: Backup,
        misplaced: MisplacedRuns,
        changes: SnapshotChanges,
    ) -> None:
        self._task_id = task_id
        self._options = options
        self._layout = options.audit.layout
        self._keys = options.audit.keys
        self._target = self._layout.snapshot(task_id)
        self._backup = backup
        self._misplaced = misplaced
        self._changes = changes
        self._checker = RunChecker(self._keys)
        self._files = RunFiles(self._layout, task_id, self._checker, [])

    def replace(self) -> None:
        """Write the new snapshot. The old one is backed up, and no update of others is lost.

        Raises TaskStateLockError, SnapshotError (not a file, or others keep changing it), InvalidRunError
        (a manifest is not a run any more) and OSError; then the snapshot is as it was, or as others left
        it.
        """
        self._files.list_folders()
        for _ in range(ATTEMPTS):
            with ExitStack() as opened:
                baseline = opened.enter_context(closing(Baseline()))
                legacy = opened.enter_context(closing(Baseline()))
                group = open_group(self._options.durability, [self._layout.out_dir], files=1)
                if self._attempt(baseline, legacy, opened.enter_context(group)):
                    return
            _log.debug("%s: not replaced, others have changed it since it was read", self._target)
        raise SnapshotError("other processes keep changing the snapshot", self._target)

    def _attempt(self, baseline: Baseline, legacy: Baseline, group: SyncGroup) -> bool:
        """False where another process has changed the snapshot meanwhile."""
        history = self._load(baseline)
        runs = self._collect(history, baseline, legacy)
        if not runs.run_ids and (history is not None or baseline.fingerprint is None):
            return True
        if history is not None and baseline.fingerprint is not None and runs.is_same_as(history):
            return True
        staged = self._stage(runs, history.further if history else b"", baseline, group)
        try:
            group.sync_data()
            if baseline.fingerprint is not None:
                self._backup.add(self._target, baseline.content(), is_whole=history is not None)
            with TaskLock(self._layout, self._task_id, self._options.lock_policy):
                is_published = baseline.is_current() and self._publish(staged, group)
        finally:
            if staged is not None:
                staged.discard()
        group.sync_names()
        return is_published

    def _load(self, baseline: Baseline) -> History | None:
        """The existing history; None where there is a file that is not a snapshot of the task."""
        try:
            return baseline.load(self._layout, self._task_id, self._keys, cache=False)
        except SnapshotError:
            if baseline.fingerprint is None:
                raise
            return None

    def _collect(self, history: History | None, baseline: Baseline, legacy: Baseline) -> RunCollection:
        runs = RunCollection(self._task_id, self._files, self._changes, self._checker, self._misplaced)
        missing = self._changes.missing
        if history is None:
            # As if the snapshot did not exist: then the history of its task starts from the legacy state.
            runs.add_entries(legacy.load_legacy(self._layout, self._task_id, self._keys))
            runs.add_recovered(baseline)
            missing = missing | self._files.run_ids
        else:
            runs.add_entries(history)
        runs.add_from_files(sorted(missing - set(runs.run_ids)))
        return runs

    def _stage(
        self, runs: RunCollection, further: bytes, baseline: Baseline, group: SyncGroup
    ) -> StagedFile | None:
        """The new snapshot beside the old one: as recording the runs one after the other leaves it."""
        runs.drop_repeats()
        failures: dict[int, Exception] = {}
        nothing = History(baseline, Entries(0), further)
        composition = Composition(nothing, self._task_id, runs, failures)
        if not composition.compose(compare=False):
            return None
        make_dirs(self._layout.task_dir(self._task_id), group, follow=False)
        try:
            chunks = limited(composition.chunks(), self._options.audit.max_snapshot_units, self._target)
            return stage(self._target, chunks, group, mode=baseline.mode)
        except RunsLeftOutError:  # no entry may be left out, nor a manifest that was there a moment ago
            raise next(iter(failures.values())) from None

    def _publish(self, staged: StagedFile | None, group: SyncGroup) -> bool:
        if staged is None:  # no run could be recovered
            os.unlink(self._target)
            group.renamed(self._target)
            return True
        written = Fingerprint.at(staged.temporary)
        staged.publish(group)
        found = Fingerprint.at(self._target)
        return found is not None and written is not None and found.is_renamed(written)
