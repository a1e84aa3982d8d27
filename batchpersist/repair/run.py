"""The one entry to a repair: an audit, and what is done about its findings, task by task."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from functools import partial

from ..audit import Audit, AuditOptions, Finding, Kind
from ..context import OnEvent, RunContext, ShouldStop, ignore_event, never_stop
from ..errors import ItemError, WorkerDiedError, failure_of
from ..events import Progress
from ..files.folders import refuse_link
from ..files.temporaries import sweep
from ..locking.batchlock import BatchLock
from ..locking.locks import TaskLock, clear_locks
from ..models import Failure
from ..runs.identifiers import check_task_id
from ..scheduling.dispatch import Submit, in_order
from .backup import begin, drop_former, finish
from .fixes import Remedy, needs_one, remedy
from .options import RepairOptions
from .report import RepairReport
from .task import TaskOutcome, repair_task

ROUNDS = 3
"""What was salvaged, or put where it belongs, may be a finding there: of the next round."""

OnFinding = Callable[[Finding, "Remedy | None"], None]
"""Hears of a finding, and what is or would be done about it."""


def repair_root(
    options: RepairOptions,
    *,
    dry_run: bool = True,
    on_event: OnEvent = ignore_event,
    on_finding: OnFinding = lambda _finding, _remedy: None,
    should_stop: ShouldStop = never_stop,
) -> RepairReport:
    """Find what differs below the two roots, as ``audit_root`` does, and repair it unless ``dry_run``.

    No run is removed, and what is replaced is copied first (docs/audit.md). Safe beside a running
    orchestrator; may be interrupted, or killed, anywhere, and begun again. ``on_event`` hears of the
    progress, ``on_finding`` of each finding and what is (or would be) done about it, both in the calling
    thread. Once ``should_stop`` is true, what has begun is brought to an end, and the rest is left.

    Raises RootMissingError, BatchLockedError where a batch, or another repair, works on the root, and
    OSError where a root cannot be listed or what is to be kept cannot be. What fails for a task is in the
    report.
    """
    layout = options.audit.layout
    layout.check_roots()  # before a folder for the lock is made
    if not dry_run:
        refuse_link(layout.own_dir)
    with nullcontext() if dry_run else BatchLock(layout, "a repair"):
        return _Repair(options, RepairReport(dry_run), RunContext(on_event, should_stop), on_finding).run()


class _Repair:
    def __init__(
        self,
        options: RepairOptions,
        report: RepairReport,
        context: RunContext,
        on_finding: OnFinding,
    ) -> None:
        self._options = options
        self._layout = options.audit.layout
        self._report = report
        self._context = context
        self._on_finding = on_finding
        self._keeper = begin(self._layout, options.durability)
        self._has_begun = False
        self._left: dict[str, list[Finding]] = {}
        """By task id; the latest look counts."""
        self._unplaced: dict[str, Failure] = {}
        """By task id, of whichever round."""
        self._runs = 0

    def run(self) -> RepairReport:
        again = self._round(self._options.audit, roots=True)
        for _ in range(ROUNDS - 1):
            if again and not self._context.is_stopping:
                again = self._round(_only(self._options.audit, again), roots=False)
        report = self._report
        report.runs = self._runs
        report.failures = self._unplaced | report.failures
        report.interrupted = self._context.is_stopping
        for findings in self._left.values():
            for finding in findings:
                report.leave(finding)
        if os.path.isdir(self._keeper.folder):
            report.folder = self._keeper.folder
        if not report.dry_run and not report.interrupted:
            finish(self._layout)
        return report

    def _round(self, audit_options: AuditOptions, *, roots: bool) -> set[str]:
        """Look, and repair what is found; returns the tasks that are to be looked at once more."""
        again: set[str] = set()
        with closing(Audit(audit_options, self._context, whole_tasks=True)) as audit:
            repairs = self._repairs(audit, roots)
            retry = partial(self._try_again, audit)
            for outcome in in_order(repairs, lambda: audit.crew.in_flight(audit.likely_runs or 0), retry):
                again |= outcome.again
                self._left[outcome.task_id] = outcome.left
                self._report.failures.pop(outcome.task_id, None)
                if outcome.failures:  # what failed after the first may have failed for that
                    self._report.failures[outcome.task_id] = outcome.failures[0]
                if outcome.unplaced is not None:
                    self._unplaced[outcome.task_id] = outcome.unplaced
        return again

    def _repairs(self, audit: Audit, roots: bool) -> Iterator[Submit[TaskOutcome]]:
        """The tasks about which something can be done, as they are looked at."""
        for look in audit.looks():
            task_id = look.share.task_id
            if not task_id and not roots:
                continue
            findings = [finding for finding in look.findings if needs_one(finding, self._options)]
            remedies = [remedy(finding, self._options) for finding in findings]
            before = set(self._left.get(task_id, ()))
            for finding, found in zip(findings, remedies, strict=True):
                if finding in before:
                    continue  # told in an earlier round
                self._report.found.add((finding.kind, found), finding)
                self._on_finding(finding, found)
            self._runs += look.runs
            self._context.on_event(Progress("repair", self._runs, audit.likely_runs, self._report.findings))
            if self._report.dry_run:
                continue
            if not task_id:
                self._left[""] = list(self._repair_roots(findings))
            elif any(remedies):
                self._begin()
                yield partial(self._submit, audit, task_id, findings)
            elif findings or task_id in self._left:
                self._left[task_id] = findings

    def _begin(self) -> None:
        if not self._has_begun:
            drop_former(self._layout)
            self._has_begun = True

    def _repair_roots(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """What lies in no task's folder, and locks; returns what is left."""
        for finding in findings:
            if finding.kind is Kind.ORPHANED_TEMPORARY:
                sweep(os.path.dirname(finding.path))
            elif finding.kind is Kind.STALE_LOCK:
                self._clear_lock(finding.task_id)
            if os.path.lexists(finding.path):
                yield finding

    def _clear_lock(self, task_id: str) -> None:
        """To take a lock clears it, and its gate, where the protocol allows that."""
        policy = replace(self._options.lock_policy, stale_seconds=self._options.audit.stale_seconds)
        with suppress(ItemError, OSError):
            check_task_id(task_id)
            with TaskLock(self._layout, task_id, policy):
                pass

    def _submit(self, audit: Audit, task_id: str, findings: list[Finding]) -> Future[TaskOutcome]:
        runs = audit.likely_runs or 0
        return audit.crew.submit(runs, repair_task, task_id, findings, self._options, self._keeper)

    def _try_again(self, audit: Audit, submit: Submit[TaskOutcome]) -> TaskOutcome:
        """On a new pool, alone; a task at which a worker dies again is left as it is then."""
        assert isinstance(submit, partial)
        _, task_id, findings = submit.args
        try:
            if audit.crew.replace_pool():
                clear_locks(self._layout, task_id, audit.crew.pids)
                outcome: TaskOutcome = submit().result()
                return outcome
        except BrokenExecutor:
            audit.crew.replace_pool()
            clear_locks(self._layout, task_id, audit.crew.pids)
        return TaskOutcome(task_id, findings, [failure_of(WorkerDiedError("worker died"))])


def _only(options: AuditOptions, tasks: Iterable[str]) -> AuditOptions:
    """To look at some tasks, of those that were asked for."""
    wanted = sorted(task_id for task_id in tasks if options.selects(task_id))
    return replace(options, tasks=tuple(task_id.replace("[", "[[]") for task_id in wanted) or ("",))
