"""Options of how runs are settled: by whom, how durably, under which locks, and how often it is tried."""

from __future__ import annotations

import click

from ...models import Durability
from ...options import NODE_LIMIT, LockPolicy, RetryPolicy
from ...scheduling.executors import usable_cpus
from .sections import section
from .types import Size, SizeOrNone

_option = section("How it is done")


WORKERS = (
    _option(
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
    _option(
        "--executor",
        type=click.Choice(["processes", "dask"]),
        default="processes",
        show_default=True,
        help="Whose workers: this command's own, or a dask cluster's (needs batchpersist[dask]).",
    ),
    _option(
        "--scheduler",
        metavar="ADDRESS",
        show_default="a cluster of -j processes, on this machine",
        help="The dask scheduler, such as tcp://host:8786. Its workers need the same file system.",
    ),
)

PAIRS = (
    _option(
        "--commit",
        type=click.Choice(["task", "run"]),
        default="task",
        show_default=True,
        help="One snapshot commit for all of a task's runs, or one for each run (for comparison).",
    ),
    _option(
        "--pair",
        type=click.Choice(["concurrent", "sequential"]),
        default="concurrent",
        show_default=True,
        help="Snapshot and manifest at once, or one after the other (the rollback).",
    ),
)

DURABILITY = (
    _option(
        "--durability",
        type=click.Choice([kind.value for kind in Durability]),
        default="batch",
        show_default=True,
        help="What survives a power cut: nothing promised, each group as it is reported, each file.",
    ),
)

STALE = (
    _option(
        "--lock-stale",
        type=click.FloatRange(min=1),
        default=LockPolicy.stale_seconds,
        show_default=True,
        metavar="SECONDS",
        help="Age from which a dead owner's lock is stale.",
    ),
)

LOCKS = (
    _option(
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
    _option(
        "--max-memory",
        type=Size(),
        show_default="as much as it needs",
        help="What each process may take at its peak; what cannot be done with it is refused.",
    ),
)

SNAPSHOT_SIZE = (
    _option(
        "--max-snapshot-size",
        type=SizeOrNone(),
        default=NODE_LIMIT,
        show_default=f"{NODE_LIMIT}, all that Node.js can read",
        help="UTF-16 units of a snapshot; one that would be longer is not written, or found by audit.",
    ),
)

FORCE = (_option("--force", is_flag=True, help="Write also what stands already with the same bytes."),)

UNCHANGED = (
    *FORCE,
    _option(
        "--no-cache",
        is_flag=True,
        help="Neither use nor keep what is known of sources and outputs that have not changed.",
    ),
    _option(
        "--verify-unchanged",
        is_flag=True,
        help="Read and compare also what is known not to have changed.",
    ),
)

TRYING = (
    _option(
        "--run-timeout",
        type=click.FloatRange(min=0, min_open=True),
        show_default="none",
        metavar="SECONDS",
        help="Kill a worker that shows no sign of life for so long; the run that it was at has failed.",
    ),
    _option(
        "--retries",
        type=click.IntRange(min=0),
        default=RetryPolicy.rounds,
        show_default=True,
        metavar="N",
        help="Rounds at the end for locked tasks and errors that may have passed (EAGAIN, EIO, ESTALE ...).",
    ),
    _option(
        "--wait-for-space",
        type=click.FloatRange(min=0),
        default=RetryPolicy.wait_for_space_seconds,
        show_default="a full disk is final",
        metavar="SECONDS",
        help="Before such a round, wait so long for room on a full disk.",
    ),
)
