"""``batchpersist retry``: persists the runs that an earlier batch failed to persist."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from ..batch.retry import RetryPlan, plan_retry
from ..exit_codes import ExitCode
from ..models import RetryKind
from ..options import BatchOptions
from ..wording import number
from . import batch_options, source_options
from .batch_options import PERSIST_OPTIONS, persist_options
from .completion import complete_batch
from .job import Job, run_job
from .output import print_event
from .params import SectionedCommand, add_options


@click.command("retry", cls=SectionedCommand, short_help="Settle again what did not stand after a batch.")
@click.argument("batch", metavar="[BATCH]", default="latest", shell_complete=complete_batch)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["failed", "locked", "invalid"]),
    help="What to retry; repeatable.  [default: failed and locked]",
)
@add_options(
    (*source_options.RUNS_DIR, *source_options.REPORT_FILES),
    PERSIST_OPTIONS,
    batch_options.NO_RESUME,
    batch_options.KEEP_AND_WAIT,
    batch_options.FAILURE_LIMIT,
    batch_options.NIGHTLY,
    batch_options.DISPLAY,
)
def command(batch: str, only: tuple[RetryKind, ...], **params: Any) -> None:
    """Settle again the runs that did not stand after BATCH (the start of its id, or latest).

    A new batch does it, with the sources, roots, keys and selection of that one. failed: a side could
    not be written; locked: the task was locked; invalid: what was no run, after its source was mended.
    What is no longer in the sources is told as invalid. Exit codes are those of run; 0 also where there
    is nothing to retry, 10 where there is no such batch, or it did not come to its end.
    """
    with run_job(params) as job:
        _retry(batch, only, job)


def _retry(batch: str, only: tuple[RetryKind, ...], job: Job) -> None:
    params = job.params
    options = BatchOptions(
        runs_dir=params["runs_dir"],
        metrics=params["metrics"],
        outcomes=params["outcomes"],
        **persist_options(params),
    )
    plan = plan_retry(batch, options, only, job.interruption.should_stop)
    if plan.items:
        job.persist(plan.sources, plan.options)
    elif params["as_json"]:
        print_event(
            "summary", state="nothing to retry", retry_of=asdict(plan.retry), exit_code=ExitCode.SUCCESS
        )
    else:
        job.print(_nothing_to_retry_lines(plan))


def _nothing_to_retry_lines(plan: RetryPlan) -> Iterator[str]:
    kinds = " or ".join(plan.retry.only)
    yield f"Nothing to retry: no run of batch {plan.retry.batch_id} is {kinds}."
    if plan.invalid:
        yield (
            f"It had {number(plan.invalid, 'invalid input')}: fix the sources, "
            "then `batchpersist retry --only invalid`."
        )
