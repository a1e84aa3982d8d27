"""``batchpersist retry``: try again what an earlier batch left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import click

from ..batch import run_batch
from ..batches.preparation import metrics_path
from ..exit_codes import ExitCode
from ..models import RetryKind
from ..operations.retry import RetryPlan, plan_retry
from ..options import BatchOptions
from ..report.sentences import number
from .completing import complete_batch
from .options import Sectioned, batches, declare, nightly, places, showing
from .output import emit
from .persisting import Job, conduct
from .run_options import SETTLING, settling_options


@click.command("retry", cls=Sectioned, short_help="Settle again what did not stand after a batch.")
@click.argument("batch", metavar="[BATCH]", default="latest", shell_complete=complete_batch)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["failed", "locked", "invalid"]),
    help="What to retry; repeatable.  [default: failed and locked]",
)
@declare(
    (*places.RUNS_DIR, *places.REPORTS),
    SETTLING,
    batches.RESUMING,
    batches.KEEPING,
    batches.FAILURES,
    nightly.NIGHTLY,
    showing.DISPLAY,
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
