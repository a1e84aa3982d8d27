"""Runs a batch: scan, plan, persist, report. Read this page first.

The library never prints, exits or reads the environment: it reports progress and failures as events, and
returns the rest as a ``BatchReport``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..batch_job import BatchJob
from ..cache import CacheSession, OutputRecorder, likely_rows
from ..context import Deadline, OnEvent, RunContext, ShouldStop, ignore_event, never_stop
from ..errors import UsageError
from ..events import BatchResumed
from ..index.builder import IndexBuilder
from ..index.scan import reject_event, scan_sources
from ..memory_limit import release_memory
from ..metrics.batch_report import BatchReport, write_report
from ..metrics.build import Phases, Stopwatch, build_metrics
from ..metrics.outcome_table import OutcomeBuilder
from ..metrics.prometheus import check_textfile
from ..metrics.schema import EndState
from ..models import RetryKind
from ..options import BatchOptions
from ..plan import SHARD_RUNS, IdCheck, Plan, make_plan
from ..records.root_record import remember
from ..sources import ScanTask, discover
from ..workers import WorkerPool
from .execution import FailureCounter, ShardExecution
from .retry import RunsToRetry, plan_retry
from .session import BatchSession, open_session

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
    None: this process, or a pool of ``options.workers`` where that pays. ``on_event`` is called with
    progress and failures in the calling thread. ``should_stop`` is asked before each new piece of
    work: once it is true, the pairs that have begun settle and the rest is not attempted; the same happens
    after ``options.max_duration_seconds``.

    Raises SourceMissingError, UsageError, BatchLockedError and ScanStoppedError (where it was to stop while
    an object storage was asked for the sources) before anything is written,
    OSError where the runs-dir or the reports cannot be written, WorkersCannotStartError, and
    TotalsError where the counts do not add up. What fails for a run is in the report instead.
    Safe beside a live orchestrator; a second batch on the same runs-dir is refused.
    """
    context = RunContext(on_event, should_stop, Deadline(options.max_duration_seconds))
    job = BatchJob(options, sources)
    job.check_paths()
    if job.textfile_path is not None:
        check_textfile(job.textfile_path)
    scan_tasks = discover(job.sources, context)
    pool = _worker_pool(options, executor)
    with open_session(job, pool, context) as session:
        if pool.elastic is not None:
            pool.elastic.check_reach(session.folder.record)
        if job.reads_cache:
            pool.warm_up(likely_rows(job.layout))
        with closing(CacheSession(job, session.folder.spool)) as cache:
            return _Batch(job, pool, session, cache, session.follow(context)).run(scan_tasks)


def retry_batch(
    batch: str = "latest",
    options: BatchOptions = BatchOptions(),
    *,
    only: Sequence[RetryKind] = (),
    executor: Executor | None = None,
    on_event: OnEvent = ignore_event,
    should_stop: ShouldStop = never_stop,
) -> BatchReport | None:
    """Persist what failed in an earlier batch (see ``plan_retry``), as a new batch. None: nothing failed.

    Runs that are no longer in the sources are reported as invalid input. All else is as in ``run_batch``.
    """
    retry = plan_retry(batch, options, only, should_stop)
    if not retry.items:
        return None
    return run_batch(
        retry.sources, retry.options, executor=executor, on_event=on_event, should_stop=should_stop
    )


def _worker_pool(options: BatchOptions, executor: Executor | None) -> WorkerPool:
    has_timeout = options.run_timeout_seconds is not None
    if executor is not None and has_timeout:
        raise UsageError("a run timeout needs workers of the batch's own, which it can kill: not an executor")
    return WorkerPool(options.workers, options.pool_runs, executor, in_process=not has_timeout)


class _Batch:
    """One batch on its way through its phases."""

    def __init__(
        self,
        job: BatchJob,
        pool: WorkerPool,
        session: BatchSession,
        cache: CacheSession,
        context: RunContext,
    ) -> None:
        self._job = job
        self._options = job.options
        self._pool = pool
        self._session = session
        self._cache = cache
        self._context = context
        retry_of = job.options.retry_of
        self._to_retry = RunsToRetry(job.layout, retry_of) if retry_of else None
        self._failures = FailureCounter(job.options.failure_policy, context.on_event)
        watched = replace(context, should_stop=self._should_stop)
        self._execution = ShardExecution(job, pool, session, self._failures, watched)
        self._filtered = self._other_partitions = self._resumed = 0
        self._pool_start = 0.0
        self._clock = Stopwatch()

    def run(self, scan_tasks: Iterator[ScanTask]) -> BatchReport:
        index = self._scan(scan_tasks)
        # No name here holds the plan: it takes about as much memory as the outcome table that follows it.
        outcomes = self._persist(self._plan(index), index)
        return self._report(index, outcomes)

    def _scan(self, scan_tasks: Iterator[ScanTask]) -> IndexBuilder:
        index = scan_sources(
            scan_tasks,
            self._pool,
            self._options.keys,
            self._session.folder.spool,
            self._context,
            cache=self._cache.take_cache(),
            recorder=self._cache.scanned,
            wanted=self._to_retry.wants if self._to_retry else lambda _reject: True,
            memory=self._job.memory_bound,
        )
        self._pool_start = self._pool.start_seconds
        self._clock.lap("scan")
        return index

    def _plan(self, index: IndexBuilder) -> Plan:
        options, to_retry, job = self._options, self._to_retry, self._job
        plan = make_plan(
            partial(self._take_index, index),
            options.selection,
            workers=self._pool.parallelism(index.rows),
            partition=options.partition,
            id_check=IdCheck(job.layout, job.own_paths),
            split_tasks=options.commit == "task",
            most_runs=SHARD_RUNS if options.failure_policy.limit is None else WATCHED_SHARD_RUNS,
            wanted=(lambda rows: to_retry.narrow(index, rows, self._context.on_event)) if to_retry else None,
            memory=job.memory_bound,
        )
        index.rejects += plan.refused
        for reject in plan.refused:
            self._context.on_event(reject_event(reject))
        self._filtered, self._other_partitions = plan.filtered, plan.other_shards
        self._failures.discovered = index.totals.discovered - plan.other_shards
        self._failures.invalid = len(index.rejects)
        release_memory()
        plan = self._cache.add_fingerprints(plan)
        if (journaled := self._session.journaled) is not None:
            settled = journaled.count_settled(plan.rows)
            self._context.on_event(BatchResumed(self._session.batch_id, settled, plan.selected))
            plan = replace(plan, rows=journaled.mark_quarantined(plan.rows))
        self._clock.lap("plan")
        return plan

    def _take_index(self, index: IndexBuilder) -> pa.Table:
        rows = index.take_table()
        release_memory()
        self._cache.add_index(rows)
        return rows

    def _persist(self, plan: Plan, index: IndexBuilder) -> OutcomeBuilder:
        if plan.rows.num_rows:
            remember(self._job.layout, self._options.keys)
        outcomes, outputs = OutcomeBuilder(plan.rows), OutputRecorder(plan.rows)
        self._execution.persist(plan, outcomes, outputs)
        if not index.cut_short and not self._execution.defects:
            self._cache.save(outputs, outcomes.snapshot_states())
        if (journaled := self._session.journaled) is not None:
            self._resumed = outcomes.take_over(journaled.states(plan.rows))
        self._clock.lap("settle")
        return outcomes

    def _report(self, index: IndexBuilder, outcomes: OutcomeBuilder) -> BatchReport:
        execution, session, should_stop = self._execution, self._session, self._context.should_stop
        phases = Phases(
            wall=self._clock.total(),
            **self._clock.laps,
            worker_seconds=execution.worker_seconds,
            pool_start=self._pool_start,
        )
        release_memory()
        state = self._state(execution.cut_short or index.cut_short)
        table = outcomes.table()
        release_memory()
        metrics = build_metrics(
            session.info(state),
            phases,
            scan=index.totals,
            rejects=index.rejects,
            filtered=self._filtered + index.totals.other_rejects,
            other_shards=self._other_partitions,
            resumed=self._resumed,
            table=table,
            totals=outcomes.totals,
        )
        release_memory()
        report = BatchReport(metrics, table, state, execution.defects, [], session.folder.path)
        report = write_report(self._job, session.folder, report, index.rejects, outcomes.shards, should_stop)
        interrupted = state == "interrupted" or (report.unwritten and should_stop())
        session.end(state, None if interrupted else report.exit_code)
        return report

    def _should_stop(self) -> bool:
        return self._failures.exceeds_policy or self._context.should_stop()

    def _state(self, cut_short: bool) -> EndState:
        if self._failures.exceeds_policy:
            return "stopped"
        if not cut_short:
            return "finished"
        deadline = self._context.deadline
        return "timed_out" if deadline.has_passed and not self._context.should_stop() else "interrupted"
