"""Options about how a batch works, resumes, stops and prints."""

from __future__ import annotations

from typing import Any

import click

from ..models import Durability
from ..options import NODE_LIMIT, POOL_RUNS, BatchOptions, FailurePolicy, LockPolicy, RetryPolicy
from ..workers import usable_cpus
from . import source_options
from .params import (
    CommandType,
    DurationType,
    FailureLimitType,
    OutputType,
    PartitionType,
    SizeOrNoneType,
    SizeType,
    VerbosityType,
    option_section,
)

_work_option = option_section("How it is done")


WORKERS = (
    _work_option(
        "-j",
        "--workers",
        type=click.IntRange(min=1),
        default=usable_cpus,
        show_default="usable CPUs",
        metavar="N",
        help="Processes that do the work; 1: this one, no pool.",
    ),
)

EXECUTOR = (
    _work_option(
        "--executor",
        type=click.Choice(["processes", "dask"]),
        default="processes",
        show_default=True,
        help="Whose workers: this command's own, or a dask cluster's (needs batchpersist[dask]).",
    ),
    _work_option(
        "--scheduler",
        metavar="ADDRESS",
        show_default="a cluster of -j processes, on this machine",
        help="The dask scheduler, such as tcp://host:8786. Its workers need the same file system.",
    ),
)

COMMIT_AND_PAIR = (
    _work_option(
        "--commit",
        type=click.Choice(["task", "run"]),
        default="task",
        show_default=True,
        help="One snapshot commit for all of a task's runs, or one for each run (for comparison).",
    ),
    _work_option(
        "--pair",
        type=click.Choice(["concurrent", "sequential"]),
        default="concurrent",
        show_default=True,
        help="Snapshot and manifest at once, or one after the other (the rollback).",
    ),
)

DURABILITY = (
    _work_option(
        "--durability",
        type=click.Choice([kind.value for kind in Durability]),
        default="batch",
        show_default=True,
        help="What survives a power cut: nothing promised, each group as it is reported, each file.",
    ),
)

LOCK_STALE = (
    _work_option(
        "--lock-stale",
        type=click.FloatRange(min=1),
        default=LockPolicy.stale_seconds,
        show_default=True,
        metavar="SECONDS",
        help="Age from which a dead owner's lock is stale.",
    ),
)

LOCKS = (
    _work_option(
        "--lock-attempts",
        type=click.IntRange(min=1),
        default=LockPolicy.attempts,
        show_default=True,
        metavar="N",
        help="Tries for a task's lock before its snapshot is skipped.",
    ),
    *LOCK_STALE,
)

MAX_MEMORY = (
    _work_option(
        "--max-memory",
        type=SizeType(),
        show_default="as much as it needs",
        help="What each process may take at its peak; what cannot be done with it is refused.",
    ),
)

MAX_SNAPSHOT_SIZE = (
    _work_option(
        "--max-snapshot-size",
        type=SizeOrNoneType(),
        default=NODE_LIMIT,
        show_default=f"{NODE_LIMIT}, all that Node.js can read",
        help="UTF-16 units of a snapshot; one that would be longer is not written, or found by audit.",
    ),
)

FORCE = (_work_option("--force", is_flag=True, help="Write also what stands already with the same bytes."),)

FORCE_AND_CACHE = (
    *FORCE,
    _work_option(
        "--no-cache",
        is_flag=True,
        help="Neither use nor keep what is known of sources and outputs that have not changed.",
    ),
    _work_option(
        "--verify-unchanged",
        is_flag=True,
        help="Read and compare also what is known not to have changed.",
    ),
)

TIMEOUT_AND_RETRIES = (
    _work_option(
        "--run-timeout",
        type=click.FloatRange(min=0, min_open=True),
        show_default="none",
        metavar="SECONDS",
        help="Kill a worker that shows no sign of life for so long; the run that it was at has failed.",
    ),
    _work_option(
        "--retries",
        type=click.IntRange(min=0),
        default=RetryPolicy.rounds,
        show_default=True,
        metavar="N",
        help="Rounds at the end for locked tasks and errors that may have passed (EAGAIN, EIO, ESTALE ...).",
    ),
    _work_option(
        "--wait-for-space",
        type=click.FloatRange(min=0),
        default=RetryPolicy.wait_for_space_seconds,
        show_default="a full disk is final",
        metavar="SECONDS",
        help="Before such a round, wait so long for room on a full disk.",
    ),
)


_batch_option = option_section("The batch")

DRY_RUN = (
    _batch_option("-n", "--dry-run", is_flag=True, help="Scan, say what would be done, and write nothing."),
)

NO_RESUME = (
    _batch_option(
        "--no-resume",
        is_flag=True,
        help="Begin anew, though the same command was interrupted before.",
    ),
)

KEEP_AND_WAIT = (
    _batch_option(
        "--keep-batches",
        type=click.IntRange(min=1),
        default=BatchOptions.keep_batches,
        show_default=True,
        metavar="N",
        help="Batches whose folders are kept for `report` and the like.",
    ),
    _batch_option(
        "--wait",
        type=click.FloatRange(min=0),
        default=BatchOptions.wait_seconds,
        show_default="none",
        metavar="SECONDS",
        help="Wait so long for another batch on this root to end.",
    ),
)

SHARD = (
    _batch_option(
        "--shard",
        type=PartitionType(),
        help="Only share K of the tasks, of N: other commands do the others (see merge-metrics).",
    ),
)

FAILURE_LIMIT = (
    _batch_option(
        "--max-failures",
        "failures",
        type=FailureLimitType(),
        default=FailurePolicy(),
        show_default="no limit",
        help="Stop after more failed or invalid runs than this.",
    ),
    _batch_option(
        "--fail-fast", is_flag=True, help="Stop after the first failure, as --max-failures 0 does."
    ),
)


_nightly_option = option_section("As a nightly job")

NIGHTLY = (
    _nightly_option(
        "--max-duration",
        type=DurationType(),
        show_default="no limit",
        help="Take no new work after so long (90m, 2h ...); the same command goes on another night.",
    ),
    _nightly_option(
        "--log-file",
        type=OutputType(),
        metavar="FILE",
        help="Append start, notices, failures and summary to a log.",
    ),
    _nightly_option(
        "--on-failure",
        type=CommandType(),
        help="Run this when the exit code is not 0, with the path of the metrics as last argument.",
    ),
)


_display_option = option_section("What is shown")

PROGRESS = (
    _display_option(
        "--progress",
        type=click.Choice(["auto", "bar", "lines", "none"]),
        default="auto",
        show_default=True,
        help="A bar, a line every 30 s, or nothing; auto: a bar on a terminal, else lines.",
    ),
)

JSON = (
    _display_option(
        "--json", "as_json", is_flag=True, help="Print one JSON event a line on standard output."
    ),
)

QUIET = (_display_option("-q", "--quiet", is_flag=True, help="Print nothing unless something failed."),)

VERBOSITY = (
    *QUIET,
    _display_option(
        "-v",
        "--verbose",
        type=VerbosityType(),
        count=True,
        help="Also print each failure as it happens; -vv: also why something is done.",
    ),
)

DISPLAY = (*PROGRESS, *JSON, *VERBOSITY)


POOL_THRESHOLD = (
    click.option("--pool-threshold", type=click.IntRange(min=0), default=POOL_RUNS, hidden=True),
)

PERSIST_OPTIONS = (
    *WORKERS,
    *COMMIT_AND_PAIR,
    *DURABILITY,
    *LOCKS,
    *FORCE_AND_CACHE,
    *TIMEOUT_AND_RETRIES,
    *MAX_MEMORY,
    *MAX_SNAPSHOT_SIZE,
    *POOL_THRESHOLD,
)
"""How a batch persists its runs, whatever its sources are."""

RUN_OPTIONS = (
    *source_options.SOURCES_OR_RUNS_DIR,
    *source_options.ROOTS,
    *source_options.REPORT_FILES,
    *source_options.KEYS,
    *source_options.SELECTION,
    *source_options.FAIL_IF_EMPTY,
    *PERSIST_OPTIONS,
    *EXECUTOR,
    *SHARD,
    *DRY_RUN,
    *NO_RESUME,
    *KEEP_AND_WAIT,
    *FAILURE_LIMIT,
    *NIGHTLY,
    *DISPLAY,
)


def batch_options(params: dict[str, Any]) -> BatchOptions:
    """Make the library's options from the command's, as click parsed them."""
    return BatchOptions(
        out_dir=params["out_dir"],
        runs_dir=params["runs_dir"],
        metrics=params["metrics"],
        outcomes=params["outcomes"],
        prometheus_textfile=params["prometheus_textfile"],
        keys=source_options.keys_from(params),
        selection=source_options.selection_from(params),
        fail_if_empty=params["fail_if_empty"],
        partition=params["shard"],
        **persist_options(params),
    )


def persist_options(params: dict[str, Any]) -> dict[str, Any]:
    """The options of ``PERSIST_OPTIONS`` and the like as keyword arguments of ``BatchOptions``."""
    return {
        "workers": params["workers"],
        "pool_runs": params["pool_threshold"],
        "commit": params["commit"],
        "pair": params["pair"],
        "durability": Durability(params["durability"]),
        "lock_policy": LockPolicy(attempts=params["lock_attempts"], stale_seconds=params["lock_stale"]),
        "force": params["force"],
        "cache": not params["no_cache"],
        "verify_unchanged": params["verify_unchanged"],
        "max_duration_seconds": params["max_duration"],
        "max_memory_bytes": params["max_memory"],
        "max_snapshot_units": params["max_snapshot_size"],
        "run_timeout_seconds": params["run_timeout"],
        "retry_policy": RetryPolicy(
            rounds=params["retries"], wait_for_space_seconds=params["wait_for_space"]
        ),
        "resume": not params["no_resume"],
        "keep_batches": params["keep_batches"],
        "wait_seconds": params["wait"],
        "failure_policy": FailurePolicy(limit=0) if params["fail_fast"] else params["failures"],
    }
