"""Options about how a batch works, resumes, ends and prints."""

from __future__ import annotations

from typing import Any

import click

from ..models import Durability
from ..options import NODE_LIMIT, POOL_RUNS, BatchOptions, FailurePolicy, LockPolicy, RetryPolicy
from ..workers import usable_cpus
from . import source_options
from .sections import section
from .types import Duration, Failures, Output, Shard, Size, SizeOrNone, Words

_work_option = section("How it is done")


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

PAIRS = (
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

STALE = (
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
    *STALE,
)

MEMORY = (
    _work_option(
        "--max-memory",
        type=Size(),
        show_default="as much as it needs",
        help="What each process may take at its peak; what cannot be done with it is refused.",
    ),
)

SNAPSHOT_SIZE = (
    _work_option(
        "--max-snapshot-size",
        type=SizeOrNone(),
        default=NODE_LIMIT,
        show_default=f"{NODE_LIMIT}, all that Node.js can read",
        help="UTF-16 units of a snapshot; one that would be longer is not written, or found by audit.",
    ),
)

FORCE = (_work_option("--force", is_flag=True, help="Write also what stands already with the same bytes."),)

UNCHANGED = (
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

TRYING = (
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


_batch_option = section("The batch")

DRY_RUN = (
    _batch_option("-n", "--dry-run", is_flag=True, help="Scan, say what would be done, and write nothing."),
)

RESUMING = (
    _batch_option(
        "--no-resume",
        is_flag=True,
        help="Begin anew, though the same command was interrupted before.",
    ),
)

KEEPING = (
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
        type=Shard(),
        help="Only share K of the tasks, of N: other commands do the others (see merge-metrics).",
    ),
)

FAILURES = (
    _batch_option(
        "--max-failures",
        "failures",
        type=Failures(),
        default=FailurePolicy(),
        show_default="no limit",
        help="Stop after more failed or invalid runs than this.",
    ),
    _batch_option(
        "--fail-fast", is_flag=True, help="Stop after the first failure, as --max-failures 0 does."
    ),
)


_nightly_option = section("As a nightly job")

NIGHTLY = (
    _nightly_option(
        "--max-duration",
        type=Duration(),
        show_default="no limit",
        help="Take no new work after so long (90m, 2h ...); the same command goes on another night.",
    ),
    _nightly_option(
        "--log-file",
        type=Output(),
        metavar="FILE",
        help="Append start, notices, failures and summary to a log.",
    ),
    _nightly_option(
        "--on-failure",
        type=Words(),
        help="Run this when the exit code is not 0, with the path of the metrics as last argument.",
    ),
)


_display_option = section("What is shown")

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
    _display_option("-v", "--verbose", is_flag=True, help="Also print each failure as it happens."),
)

DISPLAY = (*PROGRESS, *JSON, *VERBOSITY)


POOL_THRESHOLD = (
    click.option("--pool-threshold", type=click.IntRange(min=0), default=POOL_RUNS, hidden=True),
)

SETTLING = (
    *WORKERS,
    *PAIRS,
    *DURABILITY,
    *LOCKS,
    *UNCHANGED,
    *TRYING,
    *MEMORY,
    *SNAPSHOT_SIZE,
    *POOL_THRESHOLD,
)
"""How the runs of a batch are settled, wherever they come from."""

RUN = (
    *source_options.SOURCES_OR_ROOT,
    *source_options.ROOTS,
    *source_options.REPORTS,
    *source_options.KEYS,
    *source_options.SELECTION,
    *source_options.EMPTY,
    *SETTLING,
    *EXECUTOR,
    *SHARD,
    *DRY_RUN,
    *RESUMING,
    *KEEPING,
    *FAILURES,
    *NIGHTLY,
    *DISPLAY,
)


def batch_options(given: dict[str, Any]) -> BatchOptions:
    """The library's options from the command's, as click parsed them."""
    return BatchOptions(
        out_dir=given["out_dir"],
        runs_dir=given["runs_dir"],
        metrics=given["metrics"],
        outcomes=given["outcomes"],
        prometheus_textfile=given["prometheus_textfile"],
        keys=source_options.keys_of(given),
        selection=source_options.selection_of(given),
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
