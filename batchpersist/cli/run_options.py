"""The options of ``batchpersist run``, and what they mean to the library."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import click

from ..errors import UsageError
from ..executors import POOL_RUNS
from ..locks import LockPolicy
from ..models import Durability, Keys
from ..options import BatchOptions
from ..plan import Selection
from ..policy import FailurePolicy
from ..retries import RetryPolicy


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Failures(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on only
    name = "N|N%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> FailurePolicy:
        try:
            return value if isinstance(value, FailurePolicy) else FailurePolicy.parse(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class _Moment(click.ParamType):  # type: ignore[type-arg]
    """An ISO date or time, as the text that the orchestrator's timestamps (UTC) compare with."""

    name = "ISO"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            self.fail(
                f"{value!r} is not an ISO date or time such as 2026-01-31 or 2026-01-31T12:00:00Z", param, ctx
            )
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            return str(value)
        if moment.tzinfo is not None:
            moment = moment.astimezone(timezone.utc)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


_OPTIONS = [
    click.argument("sources", nargs=-1, required=True, metavar="SOURCES..."),
    click.option("--out-dir", default="out", show_default=True, help="Root of the task snapshots."),
    click.option(
        "--runs-dir", default=".runs", show_default=True, help="Root of the run manifests and task locks."
    ),
    click.option("--metrics", metavar="FILE", help="Where the metrics go.  [default: OUT_DIR/metrics.json]"),
    click.option("--outcomes", metavar="FILE.parquet", help="Also save the outcome table, a row a run."),
    click.option("--task-key", default="taskId", show_default=True, help="The runs' name for the task's id."),
    click.option("--run-key", default="runId", show_default=True, help="The runs' name for their own id."),
    click.option(
        "--time-key", default="timestamp", show_default=True, help="The runs' name for the completion time."
    ),
    click.option("--task", "tasks", multiple=True, metavar="GLOB", help="Only tasks that match; repeatable."),
    click.option("--since", type=_Moment(), help="Only runs completed at this time or later."),
    click.option("--until", type=_Moment(), help="Only runs completed before this time."),
    click.option(
        "--limit", type=click.IntRange(min=0), metavar="N", help="Only the first N runs that match."
    ),
    click.option("-n", "--dry-run", is_flag=True, help="Scan, say what would be done, and write nothing."),
    click.option(
        "-j",
        "--workers",
        type=click.IntRange(min=1),
        default=_usable_cpus,
        show_default="usable CPUs",
        metavar="N",
        help="Processes that settle runs; 1: this one, no pool.",
    ),
    click.option(
        "--commit",
        type=click.Choice(["task", "run"]),
        default="task",
        show_default=True,
        help="One snapshot commit for all of a task's runs, or one for each run (for comparison).",
    ),
    click.option(
        "--pair",
        type=click.Choice(["concurrent", "sequential"]),
        default="concurrent",
        show_default=True,
        help="Snapshot and manifest at once, or one after the other (the rollback).",
    ),
    click.option(
        "--durability",
        type=click.Choice([kind.value for kind in Durability]),
        default="batch",
        show_default=True,
        help="What survives a power cut: nothing promised, each group as it is reported, each file.",
    ),
    click.option(
        "--lock-attempts",
        type=click.IntRange(min=1),
        default=LockPolicy.attempts,
        show_default=True,
        metavar="N",
        help="Tries for a task's lock before its snapshot is skipped.",
    ),
    click.option(
        "--lock-stale",
        type=click.FloatRange(min=1),
        default=LockPolicy.stale_seconds,
        show_default=True,
        metavar="SECONDS",
        help="Age from which a dead owner's lock is broken.",
    ),
    click.option("--force", is_flag=True, help="Write also what stands already with the same bytes."),
    click.option(
        "--no-cache",
        is_flag=True,
        help="Neither use nor keep what is known of sources and outputs that have not changed.",
    ),
    click.option(
        "--verify-unchanged",
        is_flag=True,
        help="Read and compare also what is known not to have changed.",
    ),
    click.option(
        "--run-timeout",
        type=click.FloatRange(min=0, min_open=True),
        show_default="none",
        metavar="SECONDS",
        help="Kill a worker that shows no sign of life for so long; the run that it was at has failed.",
    ),
    click.option(
        "--retries",
        type=click.IntRange(min=0),
        default=RetryPolicy.rounds,
        show_default=True,
        metavar="N",
        help="Rounds at the end for locked tasks and errors that may have passed (EAGAIN, EIO, ESTALE ...).",
    ),
    click.option(
        "--wait-for-space",
        type=click.FloatRange(min=0),
        default=RetryPolicy.space_seconds,
        show_default="a full disk is final",
        metavar="SECONDS",
        help="Before such a round, wait so long for room on a full disk.",
    ),
    click.option(
        "--no-resume",
        is_flag=True,
        help="Begin anew, though the same command was interrupted before.",
    ),
    click.option(
        "--keep-batches",
        type=click.IntRange(min=1),
        default=BatchOptions.keep_batches,
        show_default=True,
        metavar="N",
        help="Batches whose folders are kept for `report` and the like.",
    ),
    click.option(
        "--wait",
        type=click.FloatRange(min=0),
        default=BatchOptions.wait,
        show_default="none",
        metavar="SECONDS",
        help="Wait so long for another batch on this root to end.",
    ),
    click.option(
        "--max-failures",
        "failures",
        type=_Failures(),
        default=FailurePolicy(),
        show_default="no limit",
        help="Stop after more failed or invalid runs than this.",
    ),
    click.option(
        "--fail-fast", is_flag=True, help="Stop after the first failure: the same as --max-failures 0."
    ),
    click.option(
        "--progress",
        type=click.Choice(["auto", "bar", "lines", "none"]),
        default="auto",
        show_default=True,
        help="A bar, a line every 30 s, or nothing; auto: a bar on a terminal, else lines.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON event a line on standard output."),
    click.option("-q", "--quiet", is_flag=True, help="Print nothing unless something failed."),
    click.option("-v", "--verbose", is_flag=True, help="Also print each failure as it happens."),
    click.option("--pool-threshold", type=click.IntRange(min=0), default=POOL_RUNS, hidden=True),
]


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Declare SOURCES and all options on a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def batch_options(given: dict[str, Any]) -> BatchOptions:
    """The library's options from the command's, as click parsed them."""
    return BatchOptions(
        out_dir=given["out_dir"],
        runs_dir=given["runs_dir"],
        metrics=given["metrics"],
        outcomes=given["outcomes"],
        keys=Keys(given["task_key"], given["run_key"], given["time_key"]),
        selection=Selection(given["tasks"], given["since"], given["until"], given["limit"]),
        workers=given["workers"],
        pool_runs=given["pool_threshold"],
        commit=given["commit"],
        pair=given["pair"],
        durability=Durability(given["durability"]),
        lock=LockPolicy(attempts=given["lock_attempts"], stale_seconds=given["lock_stale"]),
        force=given["force"],
        cache=not given["no_cache"],
        verify_unchanged=given["verify_unchanged"],
        run_timeout=given["run_timeout"],
        retries=RetryPolicy(rounds=given["retries"], space_seconds=given["wait_for_space"]),
        resume=not given["no_resume"],
        keep_batches=given["keep_batches"],
        wait=given["wait"],
        failures=FailurePolicy(limit=0) if given["fail_fast"] else given["failures"],
    )
