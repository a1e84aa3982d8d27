"""Persists the shards of a plan, and tries again what may work later."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..cache import OutputRecorder
from ..context import OnEvent, RunContext
from ..events import Progress, RunFailed
from ..metrics.outcome_table import OutcomeBuilder
from ..models import Shard, ShardOutcome, Work
from ..options import BatchOptions, FailurePolicy
from ..paths import Layout
from ..persist import Liveness
from ..plan import Plan
from ..records.preparation import persist_options
from ..sources import decoded
from ..workers import Retries, ShardCall, Supervisor, WorkerPool, make_persister
from .session import BatchSession

if TYPE_CHECKING:
    import pyarrow as pa


class FailureCounter:
    """Counts by the failure policy, and reports each run that failed for good."""

    def __init__(self, policy: FailurePolicy, on_event: OnEvent) -> None:
        self._policy = policy
        self._on_event = on_event
        self._failed: set[int] = set()
        self._told: set[tuple[str, int]] = set()
        self.discovered = 0
        """Runs, the invalid ones included."""
        self.invalid = 0

    @property
    def count(self) -> int:
        return self.invalid + len(self._failed)

    @property
    def are_too_many(self) -> bool:
        return self._policy.exceeded(self.count, self.discovered)

    def add(self, table: pa.Table, outcome: ShardOutcome, rows: Iterable[int]) -> None:
        """Count and report what failed for good; a superseded row's part in a snapshot is nobody's loss.

        ``table`` is the plan's; ``rows`` are those of the shard that will not be tried again.
        """
        first = outcome.shard.start
        for row in sorted(rows):
            run = table.slice(first + row, 1).to_pylist()[0]
            if run["superseded"]:
                continue
            self._failed.add(first + row)
            place = (decoded(run["origin"], run["file"]).name, run["line"], run["task_id"], run["run_id"])
            if row in outcome.snapshot_failures and self._is_news("snapshot", first + row):
                self._on_event(RunFailed("snapshot", outcome.snapshot_failures[row], *place))
            if row in outcome.manifest_failures and self._is_news("manifest", first + row):
                self._on_event(RunFailed("manifest", outcome.manifest_failures[row], *place))

    def _is_news(self, side: str, row: int) -> bool:
        """Not so where what failed for good is met again, beside what is tried again."""
        before = len(self._told)
        self._told.add((side, row))
        return len(self._told) > before


class ShardExecution:
    """Has a plan's shards settled by a crew; each is journaled before it is counted or reported."""

    def __init__(
        self,
        layout: Layout,
        options: BatchOptions,
        crew: WorkerPool,
        session: BatchSession,
        losses: FailureCounter,
        context: RunContext,
    ) -> None:
        """``context`` is asked before each shard and each round of retries whether to stop."""
        self._layout = layout
        self._options = options
        self._crew = crew
        self._session = session
        self._losses = losses
        self._context = context
        self._done = self._resumed = 0
        self._settled_before: pa.Array | None = None
        self.defects = 0
        """Shards that failed by an error of this package's own."""
        folder = session.folder
        beats = folder.beats if crew.owns_workers else None
        self._liveness = Liveness(beats, options.run_timeout_seconds) if beats else None
        persisting = persist_options(options, folder.spool, sweep=session.after_crash, beats=beats)
        self._persister = make_persister(crew, persisting, folder.calls)

    def settle(self, plan: Plan, outcomes: OutcomeBuilder, outputs: OutputRecorder) -> bool:
        """Settle the plan's shards, or as many as may be; whether some were left."""
        roots = (self._layout.out_dir, self._layout.runs_dir)
        retries = Retries(self._options.retry_policy, plan, roots, self._session.folder.spool)
        if self._session.settled is not None:
            self._settled_before = self._session.settled.both(plan.rows)
        cut_short, shards = False, plan.shards
        while shards:
            supervisor = self._supervisor(plan.rows, shards)
            for outcome in supervisor:
                self._take(outcome, retries, plan)
                outcomes.add(outcome)
                outputs.add(outcome)
            cut_short |= supervisor.cut_short
            shards = retries.next_round(self._context)
        for item in retries.left:
            self._losses.add(plan.rows, item.outcome, item.rows)
        outcomes.totals.retried_runs = retries.retried
        return cut_short or bool(retries.left)

    def _take(self, outcome: ShardOutcome, retries: Retries, plan: Plan) -> None:
        """Journal an outcome, and report what failed for good."""
        postponed = retries.postpone(outcome)
        self._session.settle(outcome, plan.rows)
        failed = outcome.snapshot_failures.keys() | outcome.manifest_failures.keys()
        self._losses.add(plan.rows, outcome, failed - postponed)
        self.defects += outcome.defect
        self._report_progress(outcome, plan, is_retry=retries.rounds > 0)

    def _supervisor(self, rows: pa.Table, shards: Iterable[Shard]) -> Supervisor[ShardOutcome]:
        calls = (ShardCall(rows, shard, self._persister) for shard in shards)
        return Supervisor(self._crew, calls, self._context, liveness=self._liveness)

    def _report_progress(self, outcome: ShardOutcome, plan: Plan, *, is_retry: bool) -> None:
        """A split task's runs count by their manifests, and none of them twice."""
        if outcome.shard.work is not Work.SNAPSHOT and not is_retry:
            runs = outcome.shard.stop - outcome.shard.start
            self._done += runs
            if self._settled_before is not None:
                self._resumed += self._settled_before.slice(outcome.shard.start, runs).true_count
        self._context.on_event(
            Progress("settle", self._done, plan.rows.num_rows, self._losses.count, self._resumed)
        )
