"""The one entry to an audit: what stands below the two roots, compared with itself and with sources."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from ..batches.rootrecord import check_keys, check_pairing
from ..context import OnEvent, RunContext, ShouldStop, ignore_event, never_stop
from ..events import Progress
from ..exit_codes import ExitCode
from ..ingest.index import IndexBuilder
from ..models import place_of
from ..options import Selection
from ..planning.plan import make_plan
from ..scanning import scan_sources
from ..scheduling.crew import Crew
from ..scheduling.dispatch import Submit, in_order
from ..sources import discover
from .check_task import Share, TaskLook
from .confirm import confirm
from .inventory import look_around
from .models import Finding, Kind, Sign, Tally, Weight
from .options import AuditOptions
from .tasks import LookJob, look
from .work import Work

OnRun = Callable[[Sign, str, str], None]
"""Hears of a run's sign, task id and run id."""


@dataclass
class AuditReport:
    """What an audit found."""

    tasks: int = 0
    runs: int = 0
    """Of which anything was seen, on any side."""
    tally: Tally[Kind] = field(default_factory=Tally)
    interrupted: bool = False
    unknown_suffixes: dict[str, int] = field(default_factory=dict)
    """Files in the sources that were skipped for their names, by suffix."""

    @property
    def counts(self) -> Counter[Kind]:
        """How many findings there are of each kind."""
        return self.tally.counts

    def of(self, weight: Weight) -> int:
        """How many findings of this weight there are."""
        return sum(count for kind, count in self.counts.items() if kind.weight is weight)

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to compare."""
        return not (self.runs or self.counts)

    @property
    def exit_code(self) -> ExitCode:
        """5: something differs. 3: nothing does, but not all could be looked at. 0: all is well."""
        if self.of(Weight.DIFFERENCE):
            return ExitCode.DIFFERENCES
        return ExitCode.SOME_FAILED if self.of(Weight.UNCHECKED) else ExitCode.SUCCESS


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

    Writes nothing below the roots and takes no lock. A difference counts once a second look, some
    seconds later, has seen it as well, so that what an orchestrator is about to write is none.
    ``on_event`` hears of the progress, ``on_finding`` of each finding, ``on_run`` of each run: its sign, task
    and run id, the runs of a task in their order. All are called in the calling thread. ``should_stop`` is
    asked before each piece of work; once it is true, what is not certain yet is left out.

    Holds the keys of the tasks under way in memory, and up to 100,000 findings; never all of either.
    Raises SourceMissingError, RootMissingError, UsageError and OSError (a root that cannot be listed).
    """
    report = AuditReport()
    tasks: set[str] = set()
    context = RunContext(on_event, should_stop)
    with closing(Audit(options, context, sources, keep_same=on_run is not None)) as audit:
        for confirmed in audit.looks():
            if confirmed.share.task_id:
                tasks.add(confirmed.share.task_id)
            report.runs += confirmed.runs
            for finding in confirmed.findings:
                report.tally.add(finding.kind, finding)
                on_finding(finding)
            if on_run is not None:
                _report_runs(confirmed, on_run)
            on_event(Progress("audit", report.runs, audit.likely_runs, report.of(Weight.DIFFERENCE)))
    report.tasks, report.interrupted = len(tasks), should_stop()
    report.unknown_suffixes = audit.unknown_suffixes
    return report


def _report_runs(seen: TaskLook, on_run: OnRun) -> None:
    signs = dict.fromkeys(seen.same, Sign.SAME) | dict.fromkeys(seen.enriched, Sign.ENRICHED) | seen.marked
    for run_id in sorted(signs):
        on_run(signs[run_id], seen.share.task_id, run_id)


class Audit:
    """An audit under way; ``close`` it."""

    def __init__(
        self,
        options: AuditOptions,
        context: RunContext,
        sources: Sequence[str] = (),
        *,
        keep_same: bool = False,
        whole_tasks: bool = False,
    ) -> None:
        """``whole_tasks``: never cut a task into shares. Raises as ``audit_root`` does."""
        check_keys(options.layout, options.keys)
        check_pairing(options.layout)
        self._options = options
        self._context = context
        self._keep_same = keep_same
        options.layout.check_roots()
        self._parts = discover(sources)
        self._has_sources = bool(sources)
        self._rooms = look_around(options)
        self._whole_tasks = whole_tasks
        self._spool = tempfile.TemporaryDirectory()
        self.crew = Crew(options.workers, options.pool_runs)
        self.likely_runs: int | None = self._rooms.runs or None
        """How many runs there are, about; None where that is not known."""
        self.unknown_suffixes: dict[str, int] = {}

    def close(self) -> None:
        self.crew.close()
        self._spool.cleanup()

    def looks(self) -> Iterator[TaskLook]:
        """Every task, confirmed; first what was found in the roots themselves and in the sources."""
        plan, invalid = None, []
        if self._has_sources:
            index = scan_sources(
                self._parts,
                self.crew,
                self._options.keys,
                self._spool.name,
                self._context,
            )
            invalid = list(_invalid(index))
            self.unknown_suffixes = dict(index.totals.unknown_suffixes)
            selection = Selection(self._options.tasks)
            plan = make_plan(index.take_table(), selection, workers=self.crew.workers, split_tasks=False)
            self.likely_runs = max(self._rooms.runs, plan.selected)
        yield TaskLook(Share(""), findings=self._rooms.findings + invalid)
        workers = 1 if self._whole_tasks else self.crew.parallelism(self.likely_runs or 0)
        work = Work(self._rooms, plan, workers)
        yield from confirm(
            self._each(work.jobs()),
            lambda looks: self._each(work.again(looks)),
            self._options,
            self._context,
        )

    def _each(self, jobs: Iterable[LookJob]) -> Iterator[TaskLook]:
        """Have the crew take looks, in the order of the jobs."""
        submits = (partial(self._submit, job) for job in self._until_stopped(jobs))
        runs = self.likely_runs or 0
        for looks in in_order(submits, lambda: self.crew.in_flight(runs), self._try_again):
            yield from looks

    def _until_stopped(self, jobs: Iterable[LookJob]) -> Iterator[LookJob]:
        for job in jobs:
            if self._context.is_stopping:
                return
            yield job

    def _submit(self, job: LookJob) -> Future[list[TaskLook]]:
        what = (job, self._options, self._keep_same, self._spool.name)
        return self.crew.submit(self.likely_runs or 0, look, *what)

    def _try_again(self, submit: Submit[list[TaskLook]]) -> list[TaskLook]:
        """On a new pool, alone; where that breaks as well, the tasks are not looked at, and that is told."""
        try:
            if self.crew.replace_pool():
                return submit().result()
        except BrokenExecutor:
            self.crew.replace_pool()
        assert isinstance(submit, partial)
        return [_died(share, self._options) for share in submit.args[0].shares]


def _died(share: Share, options: AuditOptions) -> TaskLook:
    path = options.layout.task_dir(share.task_id)
    words = "the worker that looked at it died"
    return TaskLook(share, findings=[Finding(Kind.UNREADABLE, share.task_id, "", path, words)])


def _invalid(index: IndexBuilder) -> Iterator[Finding]:
    for reject in index.rejects:
        place = place_of(reject.source, reject.line)
        yield Finding(Kind.INVALID_SOURCE, "", "", place, str(reject.failure))
