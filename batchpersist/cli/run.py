"""``batchpersist run``: the main job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from ..batch.dry_run import preview_batch
from ..batch.run import run_batch
from ..contract.runs_root import is_root
from ..errors import UsageError, require
from ..options import BatchOptions
from ..records.preparation import metrics_path
from .batch_command import Job, conduct
from .batch_options import RUN, batch_options
from .output import emit, say
from .sections import Sectioned, declare
from .summary import preview_lines


@contextmanager
def executing(given: dict[str, Any], options: BatchOptions) -> Iterator[tuple[Executor | None, BatchOptions]]:
    """The executor that was asked for (None: the batch's own), and the options that go with it.

    Raises UsageError where there cannot be one, before anything is done.
    """
    scheduler = given["scheduler"]
    if given["executor"] == "processes":
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
    "run", cls=Sectioned, short_help="Persist the completed runs in files, folders or standard input."
)
@declare(RUN)
def command(sources: tuple[str, ...], **given: Any) -> None:
    """Persist the completed runs in SOURCES: files, folders, or - for standard input.

    Without SOURCES: those in the runs-dir, if this is a root in which the orchestrator itself has run.

    Reads .json, .jsonl and .ndjson (also .gz, .zst, .xz and .bz2, and rotated, such as .jsonl.1 or
    .jsonl-20260131.gz), .parquet, .arrow and .feather; a folder of run manifests is a source too. Exit codes:
    0 all persisted, 1 unexpected error, 2 usage, 3 some runs failed or were invalid, 4 stopped by the failure
    policy, 10 a source is missing, 11 another batch holds the root, 12 out of time (--max-duration),
    130/143 interrupted.
    """
    sources = sources or _root(given)
    if given["dry_run"]:
        nothing_written = {"log_file": None, "on_failure": None}
        conduct(given | nothing_written, partial(_preview, sources), reads_only=True)
    else:
        conduct(given, partial(_persist, sources))


def _root(given: Mapping[str, Any]) -> tuple[str]:
    """The runs-dir as the source; says so. UsageError where it is not a root of the orchestrator."""
    root = given["runs_dir"]
    if not is_root(root):
        raise click.UsageError(
            f"Missing argument 'SOURCES...': they may be left out only where the runs-dir is a root in which"
            f" the orchestrator has run, with folders <task>/cli/<run>, and {root} is not."
        )
    if not given["quiet"]:
        say(f"No sources are named: reading the orchestrator's root {root}", err=True)
    return (root,)


def _persist(sources: tuple[str, ...], job: Job) -> int:
    with executing(job.given, batch_options(job.given)) as (executor, options):
        return job.persist(
            partial(run_batch, sources, options, executor=executor),
            metrics_path(options),
        )


def _preview(sources: tuple[str, ...], job: Job) -> int:
    if job.given["executor"] != "processes":
        raise UsageError("a dry run takes place on this machine: leave out --executor")
    options, interruption = batch_options(job.given), job.interruption
    with job.display() as display:
        preview = preview_batch(sources, options, on_event=display.show, should_stop=interruption.__bool__)
    code = job.exit_code_of(preview)
    if job.given["as_json"]:
        emit("summary", **preview.as_dict(), exit_code=code)
    else:
        job.print(preview_lines(preview), code)
    return code
