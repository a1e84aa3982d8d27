"""The one entry to the whole job: scan the sources, plan, settle, and tell what happened.

The library never prints, exits or reads the environment: progress and failures go to a
callback, the rest comes back as a report.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from . import __version__
from .batchlock import BatchLock
from .cataloguesession import CatalogueSession
from .columns import give_back
from .dispatch import Settling
from .executors import Crew
from .folders import make_root
from .index import IndexBuilder
from .layout import Layout
from .metrics import BatchInfo, build_metrics
from .models import Event, Failure, Progress, RunFailure, ShardOutcome, Work
from .options import BatchOptions
from .outcomes import OutcomeBuilder
from .plan import Plan, make_plan
from .reporting import check_writable, write_reports
from .scanning import scan_sources
from .settle import settle_shard
from .shards import SHARD_RUNS
from .sources import Part, discover
from .timing import Phases

if TYPE_CHECKING:
    import pyarrow as pa

WATCHED_SHARD_RUNS = 100
"""Runs of a shard where the batch may have to stop: the failure policy is asked between shards."""

Watch = Callable[[Event], None]
State = Literal["finished", "stopped", "interrupted"]


@dataclass(frozen=True)
class BatchReport:
    """What a batch did."""

    metrics: dict[str, Any]
    """The content of metrics.json (docs/metrics.md)."""
    outcomes: pa.Table
    """A row a run (docs/metrics.md)."""
    state: State
    defects: int
    """Shards that failed by an error of this package's own, not of their runs."""
    unwritten: list[Failure]
    """Why metrics.json or the outcome table could not be written, where they could not."""

    @property
    def exit_code(self) -> int:
        """0, 1, 3 or 4, as the README lists them; an interruption's is the caller's to know."""
        counts = self.metrics["counts"]
        if self.defects or self.unwritten:
            return 1
        if self.state == "stopped":
            return 4
        return 3 if counts["failed"] or counts["invalid"] else 0


def run_batch(
    sources: Sequence[str],
    options: BatchOptions = BatchOptions(),
    *,
    executor: Executor | None = None,
    watch: Watch = lambda _event: None,
    stop: Callable[[], bool] = lambda: False,
) -> BatchReport:
    """Persist the completed runs in ``sources`` (paths, or ``-`` for standard input).

    ``executor``: any ``concurrent.futures.Executor`` whose workers see the same file systems;
    None: this process, or a pool of ``options.workers`` where that pays. ``watch`` hears of
    progress and failures in the calling thread. ``stop`` is asked before each new piece of
    work: once it is true, what has begun is settled and the rest is not attempted.

    Raises SourceMissingError, UsageError and BatchLockedError before anything is written,
    OSError where the runs-dir or the reports cannot be written, WorkersCannotStartError, and
    TotalsError where the counts do not add up. What fails for a run is in the report instead.
    Safe beside a live orchestrator; a second batch on the same runs-dir is refused.
    """
    parts = discover(sources)
    layout = Layout(os.path.abspath(options.out_dir), os.path.abspath(options.runs_dir))
    now = datetime.now(timezone.utc)
    info = _Identity(f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}", now, sources)
    crew = Crew(options.workers, options.pool_runs, executor)
    make_root(layout.runs_dir, options.durability)
    with BatchLock(layout, f"batch {info.batch_id}"), closing(crew), _spool(layout, info.batch_id) as spool:
        check_writable(options)
        session = CatalogueSession(layout, options, spool)
        return _Batch(options, crew, watch, stop).run(info, parts, spool, session)


@contextmanager
def _spool(layout: Layout, batch_id: str) -> Iterator[str]:
    """A folder of the batch for sources that cannot be seeked; gone when the batch ends."""
    folder = os.path.join(layout.batches, batch_id)
    os.makedirs(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Batch:
    """One batch on its way through its phases."""

    def __init__(self, options: BatchOptions, crew: Crew, watch: Watch, stop: Callable[[], bool]) -> None:
        self._options = options
        self._crew = crew
        self._watch = watch
        self._stop = stop
        self._discovered = 0
        self._invalid = 0
        self._failed: set[int] = set()
        self._done = 0
        self._defects = 0

    def run(
        self, info: _Identity, parts: Iterator[Part], spool: str, session: CatalogueSession
    ) -> BatchReport:
        options, clock = self._options, _Stopwatch()
        index = scan_sources(
            parts,
            self._crew,
            options.keys,
            spool,
            watch=self._watch,
            stop=self._stop,
            catalogue=session.take_catalogue(),
            log=session.log,
        )
        self._discovered, self._invalid = index.totals.discovered, len(index.rejects)
        scan = clock.lap()
        plan = self._plan(index, session)
        planning = clock.lap()
        outcomes = OutcomeBuilder(plan.rows)
        cut_short = self._settle(plan, outcomes) or index.cut_short
        state = self._state(cut_short)
        if state == "finished" and not self._defects:
            session.save(plan, outcomes)
        phases = Phases(clock.total(), scan, planning, clock.lap())
        filtered = plan.filtered
        del plan  # its rows are needed no more, and the table is about as large
        give_back()
        table = outcomes.table()
        metrics = build_metrics(
            info.finished(options, interrupted=state == "interrupted"),
            phases,
            scan=index.totals,
            rejects=index.rejects,
            filtered=filtered,
            table=table,
            totals=outcomes.totals,
        )
        unwritten = write_reports(options, metrics, table)
        return BatchReport(metrics, table, state, self._defects, unwritten)

    def _plan(self, index: IndexBuilder, session: CatalogueSession) -> Plan:
        rows = index.take_table()
        session.indexed(rows)
        plan = plan_rows(rows, self._options, self._crew)
        del rows
        give_back()
        return session.informed(plan)

    def _settle(self, plan: Plan, outcomes: OutcomeBuilder) -> bool:
        """Settle the plan's shards, or as many as may be; whether some were left."""
        settle = partial(settle_shard, options=self._options.settling())
        settling = Settling(self._crew, plan.rows, plan.shards, settle, self._must_stop)
        for outcome in settling:
            outcomes.add(outcome)
            self._tell_failures(plan, outcome)
            self._defects += outcome.defect
            if outcome.shard.work is not Work.SNAPSHOT:
                self._done += outcome.shard.stop - outcome.shard.start
            self._watch(Progress("settle", self._done, plan.rows.num_rows, self._failures))
        return settling.cut_short

    def _tell_failures(self, plan: Plan, outcome: ShardOutcome) -> None:
        """Count and report what failed; a superseded row's part in a snapshot is nobody's loss."""
        first = outcome.shard.start
        for row in sorted(outcome.snapshot_failures.keys() | outcome.manifest_failures.keys()):
            run = plan.rows.slice(first + row, 1).to_pylist()[0]
            if run["superseded"]:
                continue
            self._failed.add(first + row)
            place = (run["source"], run["line"], run["task_id"], run["run_id"])
            if row in outcome.snapshot_failures:
                self._watch(RunFailure("snapshot", outcome.snapshot_failures[row], *place))
            if row in outcome.manifest_failures:
                self._watch(RunFailure("manifest", outcome.manifest_failures[row], *place))

    @property
    def _failures(self) -> int:
        return self._invalid + len(self._failed)

    def _given_up(self) -> bool:
        return self._options.failures.exceeded(self._failures, self._discovered)

    def _must_stop(self) -> bool:
        return self._given_up() or self._stop()

    def _state(self, cut_short: bool) -> State:
        if self._given_up():
            return "stopped"
        return "interrupted" if cut_short else "finished"


def plan_rows(rows: pa.Table, options: BatchOptions, crew: Crew) -> Plan:
    """The plan by which a batch of these options settles an index."""
    return make_plan(
        rows,
        options.selection,
        workers=crew.parallelism(rows.num_rows),
        split_tasks=options.commit == "task",
        most_runs=SHARD_RUNS if options.failures.limit is None else WATCHED_SHARD_RUNS,
    )


@dataclass(frozen=True)
class _Identity:
    """What a batch is known by from its start."""

    batch_id: str
    started_at: datetime
    sources: Sequence[str]

    def finished(self, options: BatchOptions, *, interrupted: bool) -> BatchInfo:
        return BatchInfo(
            self.batch_id,
            self.started_at,
            datetime.now(timezone.utc),
            __version__,
            options.as_config(self.sources),
            interrupted,
        )


class _Stopwatch:
    """Seconds between laps, and in all."""

    def __init__(self) -> None:
        self._started = self._lap = time.perf_counter()

    def lap(self) -> float:
        before, self._lap = self._lap, time.perf_counter()
        return self._lap - before

    def total(self) -> float:
        return time.perf_counter() - self._started
