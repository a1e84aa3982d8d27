"""The files in which a batch says what it did: metrics.json and, where asked for, the outcome table."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from . import atomic
from .durability import SyncGroup
from .errors import failure_of
from .folders import make_root
from .metrics import write_metrics
from .models import Failure
from .options import BatchOptions
from .outcomes import write_outcomes

if TYPE_CHECKING:
    import pyarrow as pa


def check_writable(options: BatchOptions) -> None:
    """Raise OSError where the reports could not be written: before the work, not after it.

    Their folders are made; nothing else is left behind.
    """
    for path in filter(None, (options.metrics_path, options.outcomes)):
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        make_root(os.path.dirname(os.path.abspath(path)), options.durability)
        atomic.stage(path, (), SyncGroup()).discard()


def write_reports(options: BatchOptions, metrics: dict[str, Any], outcomes: pa.Table) -> list[Failure]:
    """Write both; one that cannot be written does not stop the other, and is told in the result."""
    failures = []
    try:
        write_metrics(metrics, options.metrics_path)
    except OSError as error:
        failures.append(failure_of(error))
    if options.outcomes is not None:
        try:
            write_outcomes(outcomes, options.outcomes)
        except OSError as error:
            failures.append(failure_of(error))
    return failures
