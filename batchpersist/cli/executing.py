"""Who does the work of a command: what ``--executor`` and ``--scheduler`` mean to the library."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click
from click.core import ParameterSource

from ..errors import UsageError
from ..extras import require
from ..options import BatchOptions


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
    from ..scheduling.daskcluster import dask_executor

    with dask_executor(scheduler, options.workers) as executor:
        source = click.get_current_context().get_parameter_source("workers")
        if scheduler is not None and source is ParameterSource.DEFAULT:
            options = replace(options, workers=executor.threads)
        yield executor, options
