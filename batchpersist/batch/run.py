"""Runs a batch: scan, plan, persist, report. Read this page first.

The library never prints, exits or reads the environment: progress and failures go to a
callback, the rest comes back as a report.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from ..cache import CacheSession, OutputRecorder, likely_rows
from ..context import Deadline, OnEvent, RunContext, ShouldStop, ignore_event, never_stop
from ..errors import UsageError
from ..events import BatchResumed, BatchStarted, Event, Progress
from ..index.builder import IndexBuilder
from ..index.scan import rejected, scan_sources
from ..locks import BatchLock
from ..memory_limit import give_back
from ..metrics.batch_report import BatchReport, check_writable, write_folder, write_monitoring, write_reports
from ..metrics.build import BatchInfo, Phases, Stopwatch, build_metrics
from ..metrics.outcome_table import OutcomeBuilder
from ..metrics.prometheus import check_textfile
from ..metrics.schema import State, metrics_text
from ..options import BatchOptions
from ..paths import Layout
from ..plan import SHARD_RUNS, Plan, make_plan, refuse_ids
from ..records.batch_folder import ProgressFile
from ..records.preparation import check_places, layout_of, memory_bound, own_paths, reads_cache, textfile_path
from ..records.root_record import check_keys, remember
from ..sources import Part, Reject, discover
from ..storage.atomic_write import make_root, refuse_links_in
from ..storage.fsync import warn_of_refusal
from ..workers import WorkerPool
from .execution import FailureCounter, ShardExecution
from .failed_runs import FailedRuns
from .session import BatchSession

if TYPE_CHECKING:
    import pyarrow as pa

WATCHED_SHARD_RUNS = 100
"""Runs of a shard where the batch may have to stop: the failure policy is asked between shards."""


def run_batch(
    sources: Sequence[str],
    options: BatchOptions = BatchOptions(),
    *,
    executor: Executor | None = None,
    on_event: OnEvent = ignore_event,
    should_stop: ShouldStop = never_stop,
) -> BatchReport:
    """Persist the completed runs in ``sources`` (paths, or ``-`` for standard input).

    ``executor``: any ``concurrent.futures.Executor`` whose workers see the same file systems;
    None: this process, or a pool of ``options.workers`` where that pays. ``on_event`` hears of
    progress and failures in the calling thread. ``should_stop`` is asked before each new piece of
    work: once it is true, what has begun is settled and the rest is not attempted; as it is
    after ``options.max_duration``.

    Raises SourceMissingError, UsageError, BatchLockedError and ScanStoppedError (where it was to stop while
    an object storage was asked for the sources) before anything is written,
    OSError where the runs-dir or the reports cannot be written, WorkersCannotStartError, and
    TotalsError where the counts do not add up. What fails for a run is in the report instead.
    Safe beside a live orchestrator; a second batch on the same runs-dir is refused.
    """
    context = RunContext(on_event, should_stop, Deadline(options.max_duration_seconds))
    check_places(options, sources)
    if (textfile := textfile_path(options)) is not None:
        check_textfile(textfile)
    parts = discover(sources, alive=context.check)
    sources = [os.fspath(source) for source in sources]
    layout = layout_of(options)
    if executor is not None and options.run_timeout_seconds is not None:
        raise UsageError("a run timeout needs workers of the batch's own, which it can kill: not an executor")
    in_process = options.run_timeout_seconds is None
    crew = WorkerPool(options.workers, options.pool_runs, executor, in_process=in_process)
    warn_of_refusal(options.durability)
    make_root(layout.runs_dir, options.durability)
    refuse_links_in(layout.own_dir)
    beginning = "a batch that has just begun"
    with (
        BatchLock(layout, beginning, wait=options.wait_seconds, context=context) as lock,
        closing(crew),
    ):
        check_keys(layout, options.keys)
        check_writable(options)
        session = BatchSession(layout, options, sources)
        lock.describe(session.name)
        with session:
            context.on_event(BatchStarted(session.batch_id, session.folder.path))
            if crew.elastic is not None:
                crew.elastic.check_reach(session.folder.record)
            if reads_cache(options):
                crew.warm_up(likely_rows(layout))
            with closing(CacheSession(layout, options, session.folder.spool)) as cache:
                return _Batch(options, crew, context, layout, session, cache).run(parts)


class _Batch:
    """One batch on its way through its phases."""

    def __init__(
        self,
        options: BatchOptions,
        crew: WorkerPool,
        context: RunContext,
        layout: Layout,
        session: BatchSession,
        cache: CacheSession,
    ) -> None:
        self._options = options
        self._crew = crew
        self._caller = context
        self._context = replace(context, on_event=self._on_event)
        self._progress = ProgressFile(session.folder.progress)
        self._layout = layout
        self._session = session
        self._cache = cache
        self._unsettled = FailedRuns(layout, options.retry_of) if options.retry_of else None
        self._losses = FailureCounter(options.failure_policy, self._on_event)

    def run(self, parts: Iterator[Part]) -> BatchReport:
        clock = Stopwatch()
        index = scan_sources(
            parts,
            self._crew,
            self._options.keys,
            self._session.folder.spool,
            self._context,
            cache=self._cache.take_cache(),
            recorder=self._cache.scanned,
            wanted=self._unsettled.wants if self._unsettled else lambda _reject: True,
            memory=memory_bound(self._options),
        )
        scan, pool_start = clock.lap(), self._crew.start_seconds
        plan = self._plan(index)
        self._losses.discovered = index.totals.discovered - plan.other_shards
        self._losses.invalid = len(index.rejects)
        planning = clock.lap()
        if plan.rows.num_rows:
            remember(self._layout, self._options.keys)
        outcomes, outputs = OutcomeBuilder(plan.rows), OutputRecorder(plan.rows)
        settlement = ShardExecution(
            self._layout,
            self._options,
            self._crew,
            self._session,
            self._losses,
            replace(self._context, should_stop=self._should_stop),
        )
        cut_short = settlement.settle(plan, outcomes, outputs)
        settling = clock.lap()
        if not index.cut_short and not settlement.defects:
            self._cache.save(outputs, outcomes.snapshot_states())
        resumed = self._take_over(plan, outcomes)
        workers = settling * self._crew.parallelism(plan.rows.num_rows)
        phases = Phases(clock.total(), scan, planning, settling + clock.lap(), workers, pool_start)
        filtered, others = plan.filtered + index.totals.other_rejects, plan.other_shards
        del plan, outputs  # its rows are needed no more, and the table is about as large
        give_back()
        state = self._state(cut_short or index.cut_short)
        table = outcomes.table()
        give_back()
        metrics = build_metrics(
            self._info(state),
            phases,
            scan=index.totals,
            rejects=index.rejects,
            filtered=filtered,
            other_shards=others,
            resumed=resumed,
            table=table,
            totals=outcomes.totals,
        )
        give_back()
        text = metrics_text(metrics)
        unwritten = write_reports(self._options, text, table, self._caller.should_stop)
        unwritten = unwritten or write_folder(
            self._session.folder, text, table, index.rejects, outcomes.shards
        )
        report = BatchReport(metrics, table, state, settlement.defects, unwritten, self._session.folder.path)
        unwritten = [*unwritten, *write_monitoring(self._options, report, self._caller.should_stop)]
        report = replace(report, unwritten=unwritten)
        interrupted = state == "interrupted" or (unwritten and self._caller.should_stop())
        self._session.end(state, None if interrupted else report.exit_code)
        return report

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._progress.note(event)
        self._caller.on_event(event)

    def _should_stop(self) -> bool:
        return self._losses.are_too_many or self._caller.should_stop()

    def _info(self, state: State) -> BatchInfo:
        record = self._session.record
        return BatchInfo(
            record.batch_id,
            self._session.started_at,
            datetime.now(timezone.utc),
            record.version,
            record.config,
            state,
            parts=record.parts,
        )

    def _plan(self, index: IndexBuilder) -> Plan:
        options, unsettled = self._options, self._unsettled
        plan = make_plan(
            partial(self._indexed, index),
            options.selection,
            workers=self._crew.parallelism(index.rows),
            partition=options.partition,
            refuse=partial(refuse_ids, layout=self._layout, own=own_paths(options)),
            split_tasks=options.commit == "task",
            most_runs=SHARD_RUNS if options.failure_policy.limit is None else WATCHED_SHARD_RUNS,
            wanted=(lambda rows: unsettled.narrow(index, rows, self._on_event)) if unsettled else None,
            memory=memory_bound(options),
        )
        self._refuse(plan.refused, index)
        give_back()
        plan = self._cache.inform(plan)
        if self._session.settled is not None:
            settled = self._session.settled
            self._on_event(BatchResumed(self._session.batch_id, settled.count(plan.rows), plan.selected))
            plan = replace(plan, rows=settled.mark_quarantined(plan.rows))
        return plan

    def _indexed(self, index: IndexBuilder) -> pa.Table:
        rows = index.take_table()
        give_back()
        self._cache.add_index(rows)
        return rows

    def _refuse(self, rejects: Sequence[Reject], index: IndexBuilder) -> None:
        index.rejects += rejects
        self._losses.invalid += len(rejects)
        for reject in rejects:
            self._on_event(rejected(reject))

    def _take_over(self, plan: Plan, outcomes: OutcomeBuilder) -> int:
        """Count for what it was what an earlier part of this batch wrote; returns how many runs that are."""
        settled = self._session.settled
        return 0 if settled is None else outcomes.take_over(settled.states(plan.rows))

    def _state(self, cut_short: bool) -> State:
        if self._losses.are_too_many:
            return "stopped"
        if not cut_short:
            return "finished"
        deadline = self._caller.deadline
        return "timed_out" if deadline.has_passed and not self._caller.should_stop() else "interrupted"
