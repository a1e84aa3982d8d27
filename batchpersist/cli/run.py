"""``batchpersist run``: the main job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click
from click.core import ParameterSource

from ..batch.dry_run import preview_batch
from ..contract.runs_root import is_root
from ..errors import UsageError, require
from ..options import BatchOptions
from .batch_options import RUN_OPTIONS, batch_options
from .job import NO_NIGHTLY_OPTIONS, Job, run_job
from .output import print_event, print_line
from .params import SectionedCommand, add_options
from .summary import preview_lines


@contextmanager
def open_executor(
    params: dict[str, Any], options: BatchOptions
) -> Iterator[tuple[Executor | None, BatchOptions]]:
    """Open the executor that the options ask for (None: the batch makes its own processes).

    Returns the batch's options too: the number of workers is the cluster's if ``-j`` does not give one.
    Raises UsageError for options that exclude each other, before anything is done.
    """
    scheduler = params["scheduler"]
    if params["executor"] == "processes":
        if scheduler is not None:
            raise UsageError("--scheduler goes with --executor dask")
        yield None, options
        return
    if options.run_timeout_seconds is not None:
        raise UsageError("--run-timeout needs workers that this command can kill: --executor processes")
    require("dask", "distributed", "cryptography")
    from ..workers.dask import dask_executor

    with dask_executor(scheduler, options.workers) as executor:
        source = click.get_current_context().get_parameter_source("workers")
        if scheduler is not None and source is ParameterSource.DEFAULT:
            options = replace(options, workers=executor.threads)
        yield executor, options


@click.command(
    "run", cls=SectionedCommand, short_help="Persist the completed runs in files, folders or standard input."
)
@add_options(RUN_OPTIONS)
def command(sources: tuple[str, ...], **params: Any) -> None:
    """Persist the completed runs in SOURCES: files, folders, or - for standard input.

    Without SOURCES: those in the runs-dir, if this is a root in which the orchestrator itself has run.

    Reads .json, .jsonl and .ndjson (also .gz, .zst, .xz and .bz2, and rotated, such as .jsonl.1 or
    .jsonl-20260131.gz), .parquet, .arrow and .feather; a folder of run manifests is a source too. Exit codes:
    0 all persisted, 1 unexpected error, 2 usage, 3 some runs failed or were invalid, 4 stopped by the failure
    policy, 10 a source is missing, 11 another batch holds the root, 12 out of time (--max-duration),
    130/143 interrupted.
    """
    sources = sources or _runs_dir_as_source(params)
    if params["dry_run"]:
        with run_job(params | NO_NIGHTLY_OPTIONS, reads_only=True) as job:
            _preview(sources, job)
    else:
        with run_job(params) as job, open_executor(params, batch_options(params)) as (executor, options):
            job.persist(sources, options, executor)


def _runs_dir_as_source(params: Mapping[str, Any]) -> tuple[str]:
    """Use the runs-dir as the source; raises UsageError unless it is a root of the orchestrator."""
    root = params["runs_dir"]
    if not is_root(root):
        raise click.UsageError(
            f"Missing argument 'SOURCES...': they may be left out only where the runs-dir is a root in which"
            f" the orchestrator has run, with folders <task>/cli/<run>, and {root} is not."
        )
    if not params["quiet"]:
        print_line(f"No sources are named: reading the orchestrator's root {root}", err=True)
    return (root,)


def _preview(sources: tuple[str, ...], job: Job) -> None:
    if job.params["executor"] != "processes":
        raise UsageError("a dry run takes place on this machine: leave out --executor")
    options, should_stop = batch_options(job.params), job.interruption.should_stop
    with job.display() as display:
        preview = preview_batch(sources, options, on_event=display.show, should_stop=should_stop)
    job.set_exit_code(preview)
    if job.params["as_json"]:
        print_event("summary", **preview.as_dict(), exit_code=job.exit_code)
    else:
        job.print(preview_lines(preview))
