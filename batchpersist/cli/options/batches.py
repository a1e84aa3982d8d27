"""Options of a batch among other batches: when it begins, goes on, ends, and what is kept of it."""

from __future__ import annotations

import click

from ...options import BatchOptions, FailurePolicy
from .sections import section
from .types import Failures, Shard

_option = section("The batch")

DRY_RUN = (_option("-n", "--dry-run", is_flag=True, help="Scan, say what would be done, and write nothing."),)

RESUMING = (
    _option(
        "--no-resume",
        is_flag=True,
        help="Begin anew, though the same command was interrupted before.",
    ),
)

KEEPING = (
    _option(
        "--keep-batches",
        type=click.IntRange(min=1),
        default=BatchOptions.keep_batches,
        show_default=True,
        metavar="N",
        help="Batches whose folders are kept for `report` and the like.",
    ),
    _option(
        "--wait",
        type=click.FloatRange(min=0),
        default=BatchOptions.wait_seconds,
        show_default="none",
        metavar="SECONDS",
        help="Wait so long for another batch on this root to end.",
    ),
)

SHARD = (
    _option(
        "--shard",
        type=Shard(),
        help="Only share K of the tasks, of N: other commands do the others (see merge-metrics).",
    ),
)

FAILURES = (
    _option(
        "--max-failures",
        "failures",
        type=Failures(),
        default=FailurePolicy(),
        show_default="no limit",
        help="Stop after more failed or invalid runs than this.",
    ),
    _option("--fail-fast", is_flag=True, help="Stop after the first failure, as --max-failures 0 does."),
)
