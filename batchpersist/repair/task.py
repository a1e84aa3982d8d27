"""Repairing one task: what a worker does."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ..audit import Finding
from ..audit.check_task import Look, Share
from ..audit.models import SAMPLES
from ..errors import ItemError, failure_of
from ..files.temporaries import sweep
from ..models import Failure, RunKeys
from .backup import Keeper
from .fixes import Remedy, needs_one, remedy
from .manifests import ManifestRepair
from .options import RepairOptions
from .placement import Strays
from .snapshot import Rebuild, Wanted

_REBUILT = {
    Remedy.RECORD,
    Remedy.TAKE_MANIFEST,
    Remedy.TAKE_SUMMARY,
    Remedy.COMPLETE,
    Remedy.KEEP_ONE,
    Remedy.REORDER,
    Remedy.SALVAGE,
}


@dataclass
class TaskOutcome:
    """What came of a task's repair."""

    task_id: str
    left: list[Finding] = field(default_factory=list)
    """What another look at the same runs has found afterwards."""
    failures: list[Failure] = field(default_factory=list)
    """Why, where it is not for want of a remedy."""
    unplaced: Failure | None = None
    """Of runs that are kept in a copy alone: no later look will find them."""
    again: set[str] = field(default_factory=set)
    """Tasks of which more is known now: to be looked at as a whole once more."""


def repair_task(task_id: str, findings: list[Finding], options: RepairOptions, keeper: Keeper) -> TaskOutcome:
    """Do what can be done about the findings of one task, and see what is left of them.

    Nothing is raised for what fails: it is a failure, and the rest is done. May be done again, by anybody,
    after it was interrupted anywhere.
    """
    repair = _TaskRepair(task_id, findings, options, keeper)
    repair.run()
    only = {finding.run_id for finding in findings}
    again = Look(Share(task_id), options.audit, only=only).take()
    repair.outcome.left = [finding for finding in again.findings if needs_one(finding, options)]
    if any(remedy(finding, options) is Remedy.MOVE for finding in repair.outcome.left):
        repair.outcome.again.add(task_id)  # what stood in its place may be one that is repaired meanwhile
    return repair.outcome


class _TaskRepair:
    def __init__(self, task_id: str, findings: list[Finding], options: RepairOptions, keeper: Keeper) -> None:
        self.outcome = TaskOutcome(task_id)
        self._task_id = task_id
        self._options = options
        self._keeper = keeper
        self._layout = options.audit.layout
        self._strays = Strays(options)
        self._manifests = ManifestRepair(task_id, options, keeper, self._strays, self._failed)
        self._by_remedy: dict[Remedy | None, list[Finding]] = defaultdict(list)
        for finding in findings:
            self._by_remedy[remedy(finding, options)].append(finding)

    def run(self) -> None:
        """First manifests that are none; then the snapshot, which may need them; then those that need it."""
        for finding in self._by_remedy[Remedy.REMOVE]:
            sweep(os.path.dirname(finding.path))
        mended: set[str] = set()
        damaged = self._runs(Remedy.MEND) | self._runs(Remedy.MOVE, at_manifest=True)
        for run_id in sorted(damaged):
            self._try(partial(self._mend, run_id, mended))
        wanted = Wanted(
            missing=self._runs(Remedy.RECORD) | mended,
            from_manifest=self._runs(Remedy.TAKE_MANIFEST),
            from_summary=self._runs(Remedy.TAKE_SUMMARY),
            completed=self._runs(Remedy.COMPLETE),
            elsewhere=self._runs(Remedy.MOVE) - self._runs(Remedy.MOVE, at_manifest=True),
        )
        if wanted.elsewhere or mended or any(self._by_remedy[each] for each in _REBUILT):
            rebuild = Rebuild(self._task_id, self._options, self._keeper, wanted, self._strays)
            self._try(rebuild.replace)
        missing = self._runs(Remedy.WRITE) | (damaged - mended)
        differing = self._runs(Remedy.TAKE_SNAPSHOT) | wanted.from_summary | wanted.completed
        if missing or differing:
            self._try(partial(self._manifests.write, missing, differing))
        if self._strays.left:
            self.outcome.unplaced = failure_of(_unplaced(self._strays.left))
        self.outcome.again = self._strays.tasks | (
            {self._task_id} if self._by_remedy[Remedy.SALVAGE] else set()
        )

    def _runs(self, kind: Remedy, *, at_manifest: bool = False) -> set[str]:
        """Of the findings with a remedy; ``at_manifest``: of those that are about a manifest."""
        runs = {(item.run_id, item.path) for item in self._by_remedy[kind]}
        path = self._layout.manifest
        return {run for run, at in runs if not at_manifest or at == path(self._task_id, run)}

    def _mend(self, run_id: str, mended: set[str]) -> None:
        if self._manifests.mend(run_id):
            mended.add(run_id)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (ItemError, OSError) as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.outcome.failures.append(failure_of(error))


def _unplaced(runs: set[RunKeys]) -> ItemError:
    names = [f"{keys.task_id}/{keys.run_id}" for keys in sorted(runs)]
    more = f" and {len(names) - SAMPLES:,} more" if len(names) > SAMPLES else ""
    words = "runs of other tasks are kept only in what was set aside, for they have no place, or it is taken"
    return ItemError(words, ", ".join(names[:SAMPLES]) + more)
