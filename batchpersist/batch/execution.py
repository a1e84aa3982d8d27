"""Has the workers persist the shards of a plan, and retries what may work later."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..batch_job import BatchJob
from ..cache import OutputRecorder
from ..context import OnEvent, RunContext
from ..events import Progress, RunFailed
from ..metrics.outcome_table import OutcomeBuilder
from ..models import Shard, ShardOutcome, Work
from ..options import FailurePolicy
from ..persist import Liveness
from ..plan import Plan
from ..sources import SourceFile
from ..workers import Retries, ShardCall, Supervisor, WorkerPool, make_persister
from .session import BatchSession

if TYPE_CHECKING:
    import pyarrow as pa


class FailureCounter:
    """Counts for the failure policy, and reports each run that failed for good."""

    def __init__(self, policy: FailurePolicy, on_event: OnEvent) -> None:
        self._policy = policy
        self._on_event = on_event
        self._failed: set[int] = set()
        self._reported: set[tuple[str, int]] = set()
        self.discovered = 0
        """Runs, the invalid ones included."""
        self.invalid = 0

    @property
    def count(self) -> int:
        return self.invalid + len(self._failed)

    @property
    def exceeds_policy(self) -> bool:
        return self._policy.exceeded(self.count, self.discovered)

    def add(self, table: pa.Table, outcome: ShardOutcome, rows: Iterable[int]) -> None:
        """Count and report what failed for good. A superseded row is not a failure: a later one counts.

        ``table`` is the plan's; ``rows`` are those of the shard that will not be retried.
        """
        first = outcome.shard.start
        for row in sorted(rows):
            run = table.slice(first + row, 1).to_pylist()[0]
            if run["superseded"]:
                continue
            self._failed.add(first + row)
            name = SourceFile.decode(run["origin"], run["file"]).name
            place = (name, run["line"], run["task_id"], run["run_id"])
            if row in outcome.snapshot_failures and self._is_new("snapshot", first + row):
                self._on_event(RunFailed("snapshot", outcome.snapshot_failures[row], *place))
            if row in outcome.manifest_failures and self._is_new("manifest", first + row):
                self._on_event(RunFailed("manifest", outcome.manifest_failures[row], *place))

    def _is_new(self, side: str, row: int) -> bool:
        """False for a final failure that a retry of other rows of its shard reports again."""
        before = len(self._reported)
        self._reported.add((side, row))
        return len(self._reported) > before


class ShardExecution:
    """Has a worker pool persist a plan's shards; journals each before it is counted or reported.

    ``context`` is asked before each shard and each round of retries whether to stop.
    """

    def __init__(
        self,
        job: BatchJob,
        pool: WorkerPool,
        session: BatchSession,
        failures: FailureCounter,
        context: RunContext,
    ) -> None:
        self._job = job
        self._pool = pool
        self._session = session
        self._failures = failures
        self._context = context
        self._done = self._resumed = 0
        self._settled_before: pa.Array | None = None
        self.cut_short = False
        """Whether some shards were not attempted."""
        self.defects = 0
        """Shards that failed by an error of this package's own."""
        self.worker_seconds = 0.0
        """Of all workers together, busy or not."""
        folder = session.folder
        beats = folder.beats if pool.owns_workers else None
        self._liveness = Liveness(beats, job.options.run_timeout_seconds) if beats else None
        persisting = job.persist_options(folder.spool, sweep=session.after_crash, beats=beats)
        self._persister = make_persister(pool, persisting, folder.calls)

    def persist(self, plan: Plan, outcomes: OutcomeBuilder, outputs: OutputRecorder) -> None:
        """Persist the plan's shards, or as many as ``context`` allows."""
        began = time.perf_counter()
        layout, folder = self._job.layout, self._session.folder
        roots = (layout.out_dir, layout.runs_dir)
        retries = Retries(self._job.options.retry_policy, plan, roots, folder.spool)
        if self._session.journaled is not None:
            self._settled_before = self._session.journaled.settled(plan.rows)
        shards = plan.shards
        while shards:
            supervisor = self._supervisor(plan.rows, shards)
            for outcome in supervisor:
                self._record(outcome, retries, plan)
                outcomes.add(outcome)
                outputs.add(outcome)
            self.cut_short |= supervisor.cut_short
            shards = retries.next_round(self._context)
        for item in retries.left:
            self._failures.add(plan.rows, item.outcome, item.rows)
        outcomes.totals.retried_runs = retries.retried
        self.cut_short |= bool(retries.left)
        seconds = time.perf_counter() - began
        self.worker_seconds = seconds * self._pool.parallelism(plan.rows.num_rows)

    def _record(self, outcome: ShardOutcome, retries: Retries, plan: Plan) -> None:
        """Journal an outcome, and report what failed for good."""
        postponed = retries.postpone(outcome)
        self._session.record_shard(outcome, plan.rows)
        failed = outcome.snapshot_failures.keys() | outcome.manifest_failures.keys()
        self._failures.add(plan.rows, outcome, failed - postponed)
        self.defects += outcome.defect
        self._report_progress(outcome, plan, is_retry=retries.rounds > 0)

    def _supervisor(self, rows: pa.Table, shards: Iterable[Shard]) -> Supervisor[ShardOutcome]:
        calls = (ShardCall(rows, shard, self._persister) for shard in shards)
        return Supervisor(self._pool, calls, self._context, liveness=self._liveness)

    def _report_progress(self, outcome: ShardOutcome, plan: Plan, *, is_retry: bool) -> None:
        """A split task's runs count by their manifests, and none of them twice."""
        if outcome.shard.work is not Work.SNAPSHOT and not is_retry:
            runs = outcome.shard.stop - outcome.shard.start
            self._done += runs
            if self._settled_before is not None:
                self._resumed += self._settled_before.slice(outcome.shard.start, runs).true_count
        self._context.on_event(
            Progress("settle", self._done, plan.rows.num_rows, self._failures.count, self._resumed)
        )
