"""The repair of one task, in a worker."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..audit import Finding, check_runs
from ..errors import ItemError, failure_of
from ..models import Failure, RunKeys
from ..storage.temp_files import sweep
from .backup import Backup
from .collection import SnapshotChanges
from .fixes import Fix, RepairOptions, fix_for, needs_repair
from .manifests import ManifestRepair
from .placement import MisplacedRuns
from .snapshot import SnapshotRepair

_log = logging.getLogger(__name__)

_SNAPSHOT_FIXES = (
    Fix.RECORD,
    Fix.TAKE_MANIFEST,
    Fix.TAKE_SUMMARY,
    Fix.COMPLETE,
    Fix.KEEP_ONE,
    Fix.REORDER,
    Fix.RECOVER,
)

_NAMED_RUNS = 5
"""So many runs without a place are named in a failure."""


@dataclass
class TaskOutcome:
    """The outcome of a task's repair."""

    task_id: str
    left: list[Finding] = field(default_factory=list)
    """What a check of the same runs finds afterwards."""
    failures: list[Failure] = field(default_factory=list)
    """Why fixes failed."""
    unplaced: Failure | None = None
    """Of runs that are only in a backup: no later check finds them."""
    tasks_to_check: set[str] = field(default_factory=set)
    """Tasks that a further round has to check as a whole."""


def repair_task(task_id: str, findings: list[Finding], options: RepairOptions, backup: Backup) -> TaskOutcome:
    """Fix what can be fixed of the findings of one task, and check the task again.

    Nothing is raised for what fails: it is a failure in the outcome, and the rest is done. May be
    repeated, by any process, after it was interrupted anywhere.
    """
    repair = _TaskRepair(task_id, findings, options, backup)
    repair.run()
    left = check_runs(task_id, {finding.run_id for finding in findings}, options.audit)
    outcome = repair.outcome
    outcome.left = [finding for finding in left if needs_repair(finding, options)]
    if any(fix_for(finding, options) is Fix.MOVE for finding in outcome.left):
        outcome.tasks_to_check.add(task_id)  # what is in the run's own place may be repaired meanwhile
    return outcome


class _TaskRepair:
    def __init__(self, task_id: str, findings: list[Finding], options: RepairOptions, backup: Backup) -> None:
        self.outcome = TaskOutcome(task_id)
        self._task_id = task_id
        self._options = options
        self._backup = backup
        self._layout = options.audit.layout
        self._misplaced = MisplacedRuns(options)
        self._manifests = ManifestRepair(task_id, options, backup, self._misplaced)
        self._by_fix: dict[Fix | None, list[Finding]] = defaultdict(list)
        for finding in findings:
            self._by_fix[fix_for(finding, options)].append(finding)

    def run(self) -> None:
        """First invalid manifests; then the snapshot, which may need them; then those that need it."""
        for finding in self._by_fix[Fix.REMOVE]:
            sweep(os.path.dirname(finding.path))
        in_manifest = self._runs(Fix.MOVE, at_manifest=True)
        invalid = self._runs(Fix.REWRITE) | in_manifest
        rewritten = self._rewrite(invalid)
        changes = SnapshotChanges(
            missing=self._runs(Fix.RECORD) | rewritten,
            from_manifest=self._runs(Fix.TAKE_MANIFEST),
            from_summary=self._runs(Fix.TAKE_SUMMARY),
            completed=self._runs(Fix.COMPLETE),
            misplaced=self._runs(Fix.MOVE) - in_manifest,
        )
        if changes.misplaced or rewritten or any(self._by_fix[fix] for fix in _SNAPSHOT_FIXES):
            args = (self._task_id, self._options, self._backup, self._misplaced, changes)
            with self._report_failure():
                SnapshotRepair(*args).replace()
        missing = self._runs(Fix.WRITE) | (invalid - rewritten)
        differing = self._runs(Fix.TAKE_SNAPSHOT) | changes.from_summary | changes.completed
        if missing or differing:
            self._write_manifests(missing, differing)
        if self._misplaced.unplaced:
            self.outcome.unplaced = failure_of(_unplaced_error(self._misplaced.unplaced))
        self.outcome.tasks_to_check |= self._misplaced.tasks
        if self._by_fix[Fix.RECOVER]:
            self.outcome.tasks_to_check.add(self._task_id)

    def _runs(self, fix: Fix, *, at_manifest: bool = False) -> set[str]:
        """The runs whose findings have a fix; ``at_manifest``: only where it is the manifest's."""
        runs = {(finding.run_id, finding.path) for finding in self._by_fix[fix]}
        path = self._layout.manifest
        return {run for run, at in runs if not at_manifest or at == path(self._task_id, run)}

    def _rewrite(self, run_ids: set[str]) -> set[str]:
        """Rewrite invalid manifests; returns the runs that have a valid one now."""
        rewritten: set[str] = set()
        for run_id in sorted(run_ids):
            with self._report_failure():
                if self._manifests.rewrite(run_id):
                    rewritten.add(run_id)
        return rewritten

    def _write_manifests(self, missing: set[str], differing: set[str]) -> None:
        with self._report_failure():
            self._manifests.write(missing, differing)
        for error in self._manifests.errors:
            self._add_failure(error)

    @contextmanager
    def _report_failure(self) -> Iterator[None]:
        try:
            yield
        except (ItemError, OSError) as error:
            self._add_failure(error)

    def _add_failure(self, error: Exception) -> None:
        _log.debug("%s: not fixed: %s", self._task_id, error)
        self.outcome.failures.append(failure_of(error))


def _unplaced_error(runs: set[RunKeys]) -> ItemError:
    names = [f"{keys.task_id}/{keys.run_id}" for keys in sorted(runs)]
    more = f" and {len(names) - _NAMED_RUNS:,} more" if len(names) > _NAMED_RUNS else ""
    message = "runs of other tasks are only in the backup: they have no place, or it is taken"
    return ItemError(message, ", ".join(names[:_NAMED_RUNS]) + more)
