"""The audit as a whole: everything below the two roots, compared with itself and with sources."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass

from ..context import OnEvent, RunContext, ShouldStop, ignore_event, never_stop
from ..errors import ItemError
from ..events import Progress
from ..index.builder import IndexBuilder
from ..index.scan import scan_sources
from ..models import place_of
from ..options import Selection
from ..plan import Plan, make_plan
from ..records.root_record import check_keys, check_pairing
from ..sources import discover
from ..workers import Call, Supervisor, WorkerPool
from .check_task import TaskResult, TaskSlice
from .confirm import Unconfirmed, confirm, drop_outdated, needs_confirmation
from .inventory import take_inventory
from .models import AuditOptions, AuditReport, Finding, FindingKind, RunStatus
from .tasks import AuditTasks, CheckJob, check_tasks

OnRun = Callable[[RunStatus, str, str], None]
"""Gets the status, the task id and the run id of each run."""


def audit_root(
    options: AuditOptions,
    sources: Sequence[str] = (),
    *,
    on_event: OnEvent = ignore_event,
    on_finding: Callable[[Finding], None] = lambda _finding: None,
    on_run: OnRun | None = None,
    should_stop: ShouldStop = never_stop,
) -> AuditReport:
    """Compare the snapshots and manifests below the two roots with each other, and with ``sources`` if any.

    Writes nothing below the roots and takes no lock. A difference counts once a second check, some
    seconds later, has seen it as well: what an orchestrator is about to write is not a difference.
    ``on_event`` gets the progress, ``on_finding`` each finding, ``on_run`` each run: its status, task id
    and run id, the runs of a task in the order of their ids. All are called in the calling thread.
    ``should_stop`` is asked before each job; once it is true, what is not confirmed yet is left out.

    Holds the keys of the tasks being checked in memory, and up to 100,000 findings; never all of either.
    Raises SourceMissingError, RootMissingError, UsageError and OSError (a root that cannot be listed).
    """
    report = AuditReport()
    tasks: set[str] = set()
    context = RunContext(on_event, should_stop)
    with closing(Audit(options, context, sources, all_statuses=on_run is not None)) as audit:
        for result in audit.results():
            if result.slice.task_id:
                tasks.add(result.slice.task_id)
            report.runs += result.runs
            for finding in result.findings:
                report.findings.add(finding.kind, finding)
                on_finding(finding)
            if on_run is not None:
                for run_id in sorted(result.statuses):
                    on_run(result.statuses[run_id], result.slice.task_id, run_id)
            on_event(Progress("audit", report.runs, audit.expected_runs, report.differences))
    report.tasks, report.interrupted = len(tasks), context.is_stopping
    report.unknown_suffixes = audit.unknown_suffixes
    return report


class Audit:
    """An audit in progress; the caller iterates over ``results`` and then calls ``close``."""

    def __init__(
        self,
        options: AuditOptions,
        context: RunContext,
        sources: Sequence[str] = (),
        *,
        all_statuses: bool = False,
        whole_tasks: bool = False,
    ) -> None:
        """``all_statuses``: keep the status of complete runs, too. ``whole_tasks``: never slice a task.

        Raises as ``audit_root`` does.
        """
        check_keys(options.layout, options.keys)
        check_pairing(options.layout)
        self._options = options
        self._context = context
        self._all_statuses = all_statuses
        options.layout.check_roots()
        self._scan_tasks = discover(sources, context)
        self._has_sources = bool(sources)
        self._inventory = take_inventory(options)
        self._whole_tasks = whole_tasks
        self._spool = tempfile.TemporaryDirectory()
        self.pool = WorkerPool(options.workers, options.pool_runs)
        self.expected_runs: int | None = self._inventory.runs or None
        """About how many runs there are; None where that is not known."""
        self.unknown_suffixes: dict[str, int] = {}

    def close(self) -> None:
        """End the workers and remove the copies of sources."""
        self.pool.close()
        self._spool.cleanup()

    def results(self) -> Iterator[TaskResult]:
        """First what was found in the roots themselves and the sources, then every task, confirmed."""
        plan, invalid = self._scan() if self._has_sources else (None, [])
        yield TaskResult(TaskSlice(""), findings=self._inventory.findings + invalid)
        workers = 1 if self._whole_tasks else self.pool.parallelism(self.expected_runs or 0)
        tasks = AuditTasks(self._inventory, plan, workers)
        unconfirmed = Unconfirmed(self._options)
        for result in self._check(tasks.jobs()):
            if not result.findings and not result.incomplete:
                yield result
                continue
            unconfirmed.hold(result)
            if unconfirmed.is_full:
                yield from self._confirm(unconfirmed, tasks)
        yield from self._confirm(unconfirmed, tasks)

    def _scan(self) -> tuple[Plan, list[Finding]]:
        """The plan of the sources' runs, and a finding for each invalid input."""
        keys, spool = self._options.keys, self._spool.name
        index = scan_sources(self._scan_tasks, self.pool, keys, spool, self._context)
        invalid = list(_invalid_inputs(index))
        self.unknown_suffixes = dict(index.totals.unknown_suffixes)
        selection = Selection(self._options.tasks)
        plan = make_plan(index.take_table(), selection, workers=self.pool.workers, split_tasks=False)
        self.expected_runs = max(self._inventory.runs, plan.selected)
        return plan, invalid

    def _confirm(self, unconfirmed: Unconfirmed, tasks: AuditTasks) -> Iterator[TaskResult]:
        for results in unconfirmed.take(self._context):
            again = {result.slice: result for result in results if needs_confirmation(result)}
            for result in results:
                if result.slice not in again:
                    yield drop_outdated(result)
            for second in self._check(tasks.jobs_again(list(again.values()))):
                yield confirm(again[second.slice], second)

    def _check(self, jobs: Iterable[CheckJob]) -> Iterator[TaskResult]:
        """Have the workers do the jobs; results come in the order of the jobs."""
        runs = self.expected_runs or 0
        calls = (_CheckCall(job, self._options, self._all_statuses, self._spool.name, runs) for job in jobs)
        for results in Supervisor(self.pool, calls, self._context, in_order=True):
            yield from results


@dataclass(frozen=True, eq=False)
class _CheckCall(Call[list[TaskResult]]):
    """Has a worker do a job; if that dies twice, the job's tasks are unchecked."""

    job: CheckJob
    options: AuditOptions
    all_statuses: bool
    spool: str
    expected_runs: int

    def __str__(self) -> str:
        return f"the check of {[task.task_id for task in self.job.slices]}"

    @property
    def runs(self) -> int:
        return self.expected_runs

    def submit(self, pool: WorkerPool, *, sweep: bool) -> Future[list[TaskResult]]:
        return pool.submit(self.runs, check_tasks, self.job, self.options, self.all_statuses, self.spool)

    def give_up(self, error: ItemError) -> list[TaskResult]:
        return [_unchecked(task, self.options) for task in self.job.slices]


def _unchecked(task: TaskSlice, options: AuditOptions) -> TaskResult:
    path = options.layout.task_dir(task.task_id)
    finding = Finding(FindingKind.UNREADABLE, task.task_id, "", path, "the worker that checked it died")
    return TaskResult(task, findings=[finding])


def _invalid_inputs(index: IndexBuilder) -> Iterator[Finding]:
    for reject in index.rejects:
        place = place_of(reject.source, reject.line)
        yield Finding(FindingKind.INVALID_SOURCE, "", "", place, str(reject.failure))
