"""The plan: which runs are persisted, in which order, and in which shards.

``make_plan`` turns the index into a plan; ``make_job`` packs a shard of the plan for its worker.
"""

from .id_collisions import IdCheck, refuse_places_of_runs
from .planner import Plan, make_plan
from .shard_job import ShardJob, ShardRows, make_job
from .sharding import SHARD_BYTES, SHARD_RUNS, SHARD_TASKS

__all__ = [
    "IdCheck",
    "Plan",
    "SHARD_BYTES",
    "SHARD_RUNS",
    "SHARD_TASKS",
    "ShardJob",
    "ShardRows",
    "make_job",
    "make_plan",
    "refuse_places_of_runs",
]
