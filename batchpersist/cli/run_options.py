"""The options of ``batchpersist run``, and what they mean to the library."""

from __future__ import annotations

from typing import Any

import click

from ..models import Durability
from ..options import POOL_RUNS, BatchOptions, FailurePolicy, LockPolicy, RetryPolicy
from .options import batches, nightly, places, reading, showing, working

POOL_THRESHOLD = (
    click.option("--pool-threshold", type=click.IntRange(min=0), default=POOL_RUNS, hidden=True),
)

SETTLING = (
    *working.WORKERS,
    *working.PAIRS,
    *working.DURABILITY,
    *working.LOCKS,
    *working.UNCHANGED,
    *working.TRYING,
    *working.MEMORY,
    *working.SNAPSHOT_SIZE,
    *POOL_THRESHOLD,
)
"""How the runs of a batch are settled, wherever they come from."""

RUN = (
    *reading.SOURCES_OR_ROOT,
    *places.ROOTS,
    *places.REPORTS,
    *reading.KEYS,
    *reading.SELECTION,
    *reading.EMPTY,
    *SETTLING,
    *working.EXECUTOR,
    *batches.SHARD,
    *batches.DRY_RUN,
    *batches.RESUMING,
    *batches.KEEPING,
    *batches.FAILURES,
    *nightly.NIGHTLY,
    *showing.DISPLAY,
)


def batch_options(given: dict[str, Any]) -> BatchOptions:
    """The library's options from the command's, as click parsed them."""
    return BatchOptions(
        out_dir=given["out_dir"],
        runs_dir=given["runs_dir"],
        metrics=given["metrics"],
        outcomes=given["outcomes"],
        prometheus_textfile=given["prometheus_textfile"],
        keys=reading.keys_of(given),
        selection=reading.selection_of(given),
        fail_if_empty=given["fail_if_empty"],
        partition=given["shard"],
        **settling_options(given),
    )


def settling_options(given: dict[str, Any]) -> dict[str, Any]:
    """Those of them that say how it is done: for a command that has no others."""
    return {
        "workers": given["workers"],
        "pool_runs": given["pool_threshold"],
        "commit": given["commit"],
        "pair": given["pair"],
        "durability": Durability(given["durability"]),
        "lock_policy": LockPolicy(attempts=given["lock_attempts"], stale_seconds=given["lock_stale"]),
        "force": given["force"],
        "cache": not given["no_cache"],
        "verify_unchanged": given["verify_unchanged"],
        "max_duration_seconds": given["max_duration"],
        "max_memory_bytes": given["max_memory"],
        "max_snapshot_units": given["max_snapshot_size"],
        "run_timeout_seconds": given["run_timeout"],
        "retry_policy": RetryPolicy(rounds=given["retries"], wait_for_space_seconds=given["wait_for_space"]),
        "resume": not given["no_resume"],
        "keep_batches": given["keep_batches"],
        "wait_seconds": given["wait"],
        "failure_policy": FailurePolicy(limit=0) if given["fail_fast"] else given["failures"],
    }
