"""What the tests of workers share: plans to persist, and workers that do with a shard what a test says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from support.engine import plan_of, run

from batchpersist.context import RunContext
from batchpersist.models import ShardOutcome, Side, Work
from batchpersist.options import PersistOptions
from batchpersist.paths import Layout
from batchpersist.persist.liveness import Liveness
from batchpersist.persist.worker import empty_outcome
from batchpersist.plan.planner import Plan
from batchpersist.plan.shard_job import ShardJob
from batchpersist.workers.pool import WorkerPool
from batchpersist.workers.shard_call import ShardCall, ShardPersister
from batchpersist.workers.supervisor import Supervisor

PERSISTED = Side.PERSISTED
NO_ROOTS = Layout("none", "none")


@dataclass(frozen=True)
class ScriptedPersister(ShardPersister):
    """Persists nothing: makes a picklable call instead."""

    script: Callable[[ShardJob], ShardOutcome]

    def persist(self, job: ShardJob) -> ShardOutcome:
        return self.script(job)


def scripted(script: Callable[[ShardJob], ShardOutcome], layout: Layout = NO_ROOTS) -> ScriptedPersister:
    return ScriptedPersister(
        PersistOptions(out_dir=layout.out_dir, runs_dir=layout.runs_dir, spool=""), script
    )


def supervise(
    pool: WorkerPool,
    plan: Plan,
    script: Callable[[ShardJob], ShardOutcome],
    context: RunContext = RunContext(),
    *,
    layout: Layout = NO_ROOTS,
    liveness: Liveness | None = None,
) -> Supervisor[ShardOutcome]:
    """Has a worker pool persist a plan's shards as the script says."""
    calls = [ShardCall(plan.rows, shard, scripted(script, layout)) for shard in plan.shards]
    return Supervisor(pool, calls, context, liveness=liveness)


def persist_unless_poisoned(job: ShardJob, poison: tuple[str, ...] = ()) -> ShardOutcome:
    """Report all runs as persisted; a poisoned one takes the whole process down, as an OOM kill does."""
    outcome = empty_outcome(job.shard)
    for row, run_id in enumerate(job.rows().run_ids):
        if run_id in poison:
            os._exit(9)
        outcome.snapshot[row] = outcome.manifest[row] = PERSISTED
    return outcome


def plan_with(tmp_path: Path, tasks: int, runs: int, workers: int = 2) -> Plan:
    return plan_of(tmp_path / "s.jsonl", [run(f"t{n % tasks}", n) for n in range(runs)], workers=workers)


def sides(outcomes: Iterable[ShardOutcome], plan: Plan) -> dict[str, tuple[Side, Side]]:
    """Run id -> how its two sides settled; asserts that each side comes once."""
    ids = plan.rows["run_id"].to_pylist()
    snapshots: dict[str, Side] = {}
    manifests: dict[str, Side] = {}
    for outcome in outcomes:
        for row in range(outcome.shard.stop - outcome.shard.start):
            run_id = ids[outcome.shard.start + row]
            if outcome.shard.work is not Work.MANIFEST:
                assert run_id not in snapshots
                snapshots[run_id] = Side(outcome.snapshot[row])
            if outcome.shard.work is not Work.SNAPSHOT:
                assert run_id not in manifests
                manifests[run_id] = Side(outcome.manifest[row])
    return {run_id: (snapshots[run_id], manifests[run_id]) for run_id in ids if run_id in manifests}
