"""``batchpersist retry``: try again what an earlier batch left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import click

from ..batch.retry import RetryPlan, plan_retry
from ..batch.run import run_batch
from ..exit_codes import ExitCode
from ..models import RetryKind
from ..options import BatchOptions
from ..records.preparation import metrics_path
from ..wording import number
from . import batch_options, source_options
from .batch_command import Job, conduct
from .batch_options import SETTLING, settling_options
from .completion import complete_batch
from .output import emit
from .sections import Sectioned, declare


@click.command("retry", cls=Sectioned, short_help="Settle again what did not stand after a batch.")
@click.argument("batch", metavar="[BATCH]", default="latest", shell_complete=complete_batch)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["failed", "locked", "invalid"]),
    help="What to retry; repeatable.  [default: failed and locked]",
)
@declare(
    (*source_options.RUNS_DIR, *source_options.REPORTS),
    SETTLING,
    batch_options.RESUMING,
    batch_options.KEEPING,
    batch_options.FAILURES,
    batch_options.NIGHTLY,
    batch_options.DISPLAY,
)
def command(batch: str, only: tuple[RetryKind, ...], **given: Any) -> None:
    """Settle again the runs that did not stand after BATCH (the start of its id, or latest).

    A new batch does it, with the sources, roots, keys and selection of that one. failed: a side could
    not be written; locked: the task was locked; invalid: what was no run, after its source was mended.
    What is no longer in the sources is told as invalid. Exit codes are those of run; 0 also where there
    is nothing to retry, 10 where there is no such batch, or it did not come to its end.
    """
    conduct(given, partial(_retry, batch, only))


def _retry(batch: str, only: tuple[RetryKind, ...], job: Job) -> int:
    given = job.given
    options = BatchOptions(
        runs_dir=given["runs_dir"],
        metrics=given["metrics"],
        outcomes=given["outcomes"],
        **settling_options(given),
    )
    plan = plan_retry(batch, options, only, job.interruption.__bool__)
    if plan.items:
        return job.persist(partial(run_batch, plan.sources, plan.options), metrics_path(plan.options))
    if given["as_json"]:
        emit("summary", state="nothing to retry", retry_of=asdict(plan.retry), exit_code=ExitCode.SUCCESS)
    else:
        job.print(list(_nothing_left(plan)), ExitCode.SUCCESS)
    return ExitCode.SUCCESS


def _nothing_left(plan: RetryPlan) -> Iterator[str]:
    kinds = " or ".join(plan.retry.only)
    yield f"Nothing to retry: no run of batch {plan.retry.batch_id} is {kinds}."
    if plan.invalid:
        yield (
            f"It had {number(plan.invalid, 'invalid input')}: fix the sources, "
            "then `batchpersist retry --only invalid`."
        )
