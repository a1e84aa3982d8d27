"""The repair as a whole: an audit, and the fixes of its findings, task by task, in rounds."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace

from ..audit import Audit, AuditOptions, Finding, FindingKind
from ..context import OnEvent, RunContext, ShouldStop, ignore_event, never_stop
from ..contract.identifiers import check_task_id
from ..errors import ItemError, failure_of
from ..events import Progress
from ..locks import BatchLock, TaskLock, clear_locks
from ..models import Failure
from ..storage.atomic_write import refuse_link
from ..storage.temp_files import sweep
from ..workers import Call, Supervisor, WorkerPool
from .backup import Backup, mark_finished, new_backup, remove_old_copies
from .fixes import Fix, RepairOptions, RepairReport, fix_for, needs_repair
from .task import TaskOutcome, repair_task

ROUNDS = 3
"""A run that was recovered, or put in its own place, may be a finding there: of the next round."""

OnFinding = Callable[[Finding, "Fix | None"], None]
"""Gets each finding with its fix; None: there is none."""


def repair_root(
    options: RepairOptions,
    *,
    dry_run: bool = True,
    on_event: OnEvent = ignore_event,
    on_finding: OnFinding = lambda _finding, _fix: None,
    should_stop: ShouldStop = never_stop,
) -> RepairReport:
    """Find what differs below the two roots, as ``audit_root`` does, and unless ``dry_run`` repair it.

    No run is removed, and what is replaced is copied first (docs/audit.md). Safe beside a running
    orchestrator; may be interrupted, or killed, anywhere, and run again. ``on_event`` gets the progress,
    ``on_finding`` each finding with its fix (None: there is none), both in the calling thread. Once
    ``should_stop`` is true, the repairs that have begun are finished, and the rest is left.

    Raises RootMissingError, BatchLockedError where a batch, or another repair, works on the root, and
    OSError where a root cannot be listed or a copy cannot be written. What fails for a task is in the
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
        self._backup = new_backup(self._layout, options.durability)
        self._has_begun = False
        self._left: dict[str, list[Finding]] = {}
        """By task id; the latest check counts."""
        self._unplaced: dict[str, Failure] = {}
        """By task id, from all rounds."""

    def run(self) -> RepairReport:
        tasks = self._round(self._options.audit, with_roots=True)
        for _ in range(ROUNDS - 1):
            if tasks and not self._context.is_stopping:
                tasks = self._round(_only(self._options.audit, tasks), with_roots=False)
        report = self._report
        report.failures = self._unplaced | report.failures
        report.interrupted = self._context.is_stopping
        for findings in self._left.values():
            for finding in findings:
                report.left.add(finding.kind, finding)
        if os.path.isdir(self._backup.folder):
            report.folder = self._backup.folder
        if not report.dry_run and not report.interrupted:
            mark_finished(self._layout)
        return report

    def _round(self, options: AuditOptions, *, with_roots: bool) -> set[str]:
        """Audit, and repair what is found; returns the tasks for the next round."""
        tasks: set[str] = set()
        with closing(Audit(options, self._context, whole_tasks=True)) as audit:
            repairs = self._repairs(audit, with_roots)
            # Not this repair's context: once that is stopping, the audit ends, and what it found is repaired.
            for outcome in Supervisor(audit.pool, repairs, RunContext(), in_order=True):
                tasks |= outcome.tasks_to_check
                self._take(outcome)
        return tasks

    def _take(self, outcome: TaskOutcome) -> None:
        self._left[outcome.task_id] = outcome.left
        self._report.failures.pop(outcome.task_id, None)
        if outcome.failures:  # the later ones may have failed because of the first
            self._report.failures[outcome.task_id] = outcome.failures[0]
        if outcome.unplaced is not None:
            self._unplaced[outcome.task_id] = outcome.unplaced

    def _repairs(self, audit: Audit, with_roots: bool) -> Iterator[Call[TaskOutcome]]:
        """The repairs of the tasks with a fix, as the audit confirms their findings."""
        for result in audit.results():
            task_id = result.slice.task_id
            if not task_id and not with_roots:
                continue
            findings = [finding for finding in result.findings if needs_repair(finding, self._options)]
            self._report_findings(task_id, findings)
            self._report.runs += result.runs
            count = self._report.findings
            self._context.on_event(Progress("repair", self._report.runs, audit.expected_runs, count))
            if self._report.dry_run:
                continue
            if not task_id:
                self._left[""] = list(self._repair_roots(findings))
            elif any(fix_for(finding, self._options) for finding in findings):
                self._begin()
                runs = audit.expected_runs or 0
                yield _RepairCall(task_id, findings, self._options, self._backup, runs)
            elif findings or task_id in self._left:
                self._left[task_id] = findings

    def _report_findings(self, task_id: str, findings: list[Finding]) -> None:
        """Report each finding once, whatever number of rounds finds it."""
        reported = set(self._left.get(task_id, ()))
        for finding in findings:
            if finding not in reported:
                fix = fix_for(finding, self._options)
                self._report.found.add((finding.kind, fix), finding)
                self._on_finding(finding, fix)

    def _begin(self) -> None:
        if not self._has_begun:
            remove_old_copies(self._layout)
            self._has_begun = True

    def _repair_roots(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Repair what is in no task's folder, and locks; yields what remains."""
        for finding in findings:
            if finding.kind is FindingKind.ORPHANED_TEMPORARY:
                sweep(os.path.dirname(finding.path))
            elif finding.kind is FindingKind.STALE_LOCK:
                self._clear_lock(finding.task_id)
            if os.path.lexists(finding.path):
                yield finding

    def _clear_lock(self, task_id: str) -> None:
        """Acquiring a lock clears a stale one, and its gate, where the protocol allows that."""
        policy = replace(self._options.lock_policy, stale_seconds=self._options.audit.stale_seconds)
        with suppress(ItemError, OSError):
            check_task_id(task_id)
            with TaskLock(self._layout, task_id, policy):
                pass


@dataclass(frozen=True, eq=False)
class _RepairCall(Call[TaskOutcome]):
    """Has a worker repair a task; if that dies twice, the task stays as it is."""

    task_id: str
    findings: list[Finding]
    options: RepairOptions
    backup: Backup
    expected_runs: int

    def __str__(self) -> str:
        return f"the repair of task {self.task_id!r}"

    @property
    def runs(self) -> int:
        return self.expected_runs

    def submit(self, pool: WorkerPool, *, sweep: bool) -> Future[TaskOutcome]:
        return pool.submit(self.runs, repair_task, self.task_id, self.findings, self.options, self.backup)

    def give_up(self, error: ItemError) -> TaskOutcome:
        return TaskOutcome(self.task_id, self.findings, [failure_of(error)])

    def clear_locks(self, pids: Collection[int]) -> None:
        clear_locks(self.options.audit.layout, self.task_id, pids)


def _only(options: AuditOptions, tasks: Iterable[str]) -> AuditOptions:
    """The options for some tasks, as far as the user has selected them."""
    wanted = sorted(task_id for task_id in tasks if options.selects(task_id))
    return replace(options, tasks=tuple(task_id.replace("[", "[[]") for task_id in wanted) or ("",))
