"""The settling of a batch's plan: its shards, and once more what may have passed by then."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from . import __version__
from .batches.batchsession import BatchSession
from .batches.losses import Losses
from .batches.preparation import persist_options
from .caching.outputs import OutputRecorder
from .context import RunContext
from .events import Progress
from .figures.outcomes import OutcomeBuilder
from .layout import Layout
from .locking.locks import clear_locks
from .models import Shard, ShardOutcome, Work
from .options import BatchOptions, PersistOptions
from .planning.copies import missing_copies
from .planning.job import ShardJob
from .planning.plan import Plan
from .scheduling.crew import Crew
from .scheduling.dispatch import Settling
from .scheduling.remote import settle_remotely
from .scheduling.retries import Retrying
from .scheduling.watchdog import Watchdog
from .settling.settle import settle_shard

if TYPE_CHECKING:
    import pyarrow as pa


class Settlement:
    """Has a plan's shards settled by a crew; each is journaled before it is counted or told."""

    def __init__(
        self,
        layout: Layout,
        options: BatchOptions,
        crew: Crew,
        session: BatchSession,
        losses: Losses,
        context: RunContext,
    ) -> None:
        """``context`` is asked before each shard and each round of retries whether to stop."""
        self._layout = layout
        self._options = options
        self._crew = crew
        self._session = session
        self._losses = losses
        self._context = context
        self._rounds: list[Settling] = []
        self._done = self._resumed = 0
        self._settled_before: pa.Array | None = None
        self.defects = 0
        """Shards that failed by an error of this package's own."""

    def settle(self, plan: Plan, outcomes: OutcomeBuilder, outputs: OutputRecorder) -> bool:
        """Settle the plan's shards, or as many as may be; whether some were left."""
        roots = (self._layout.out_dir, self._layout.runs_dir)
        settle_all = self._settle_all(plan)
        copies = partial(missing_copies, plan.rows, self._session.folder.spool)
        retrying = Retrying(settle_all, self._options.retry_policy, roots, plan, self._context, copies)
        if self._session.settled is not None:
            self._settled_before = self._session.settled.both(plan.rows)
        for item in retrying.run(plan.shards):
            self._session.settle(item.outcome, plan.rows)
            outcomes.add(item.outcome)
            outputs.add(item.outcome)
            failed = item.outcome.snapshot_failures.keys() | item.outcome.manifest_failures.keys()
            self._losses.add(plan.rows, item.outcome, failed - item.rows)
            self.defects += item.outcome.defect
            self._tell_progress(item.outcome, plan)
        for item in retrying.left:
            self._losses.add(plan.rows, item.outcome, item.rows)
        outcomes.totals.retried_runs = retrying.retried
        cut_short = bool(retrying.left) or any(settling.cut_short for settling in self._rounds)
        self._rounds.clear()  # they hold on to the plan's rows
        return cut_short

    def _settle_all(self, plan: Plan) -> Callable[[Sequence[Shard]], Settling]:
        """What settles shards, in each round."""
        folder, sweep = self._session.folder, self._session.after_crash
        beats = folder.beats if self._crew.owns_workers else None
        call = self._call(persist_options(self._options, folder.spool, sweep=sweep, beats=beats))
        watchdog = Watchdog(beats, self._options.run_timeout_seconds) if beats else None
        bury = partial(clear_locks, self._layout)

        def settle_all(shards: Sequence[Shard]) -> Settling:
            settling = Settling(self._crew, plan.rows, shards, call, self._context, bury, watchdog)
            self._rounds.append(settling)
            return settling

        return settle_all

    def _call(self, options: PersistOptions) -> Callable[[ShardJob], ShardOutcome]:
        """What the workers do."""
        folder = self._session.folder
        if self._crew.elastic is None:
            return partial(settle_shard, options=options)
        os.makedirs(folder.calls, exist_ok=True)
        return partial(settle_remotely, options=options, calls=folder.calls, version=__version__)

    def _tell_progress(self, outcome: ShardOutcome, plan: Plan) -> None:
        """A split task's runs count by their manifests, and none of them twice."""
        if outcome.shard.work is not Work.SNAPSHOT and len(self._rounds) == 1:
            runs = outcome.shard.stop - outcome.shard.start
            self._done += runs
            if self._settled_before is not None:
                self._resumed += self._settled_before.slice(outcome.shard.start, runs).true_count
        self._context.on_event(
            Progress("settle", self._done, plan.rows.num_rows, self._losses.count, self._resumed)
        )
