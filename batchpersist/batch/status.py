"""The state of a root's batches: running, finished, or killed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Literal

import msgspec

from ..errors import SourceMissingError, UsageError
from ..locks import holder_of
from ..metrics.schema import Counts, Timing, read_metrics
from ..paths import Layout
from ..records.batch_folder import (
    BatchFolder,
    BatchRecord,
    ProgressRecord,
    State,
    batch_name,
    find_record,
    list_batches,
    read_progress,
)
from ..timestamps import moment_of

CLOCK_SKEW = timedelta(minutes=2)
"""By which the clocks of two machines may well differ."""


class Result(msgspec.Struct):
    """What became of a batch: parts of its metrics."""

    counts: Counts
    timing: Timing


@dataclass(frozen=True)
class BatchStatus:
    """How a batch is."""

    record: BatchRecord
    state: State | Literal["killed"]
    """``killed``: its record says that it is running, but no process holds its lock."""
    progress: ProgressRecord | None
    """How far it is, where it runs or was killed."""
    result: Result | None
    """Where it ended."""
    folder: BatchFolder

    @property
    def starts_in_the_future(self) -> bool:
        """The clock that the batch was started by, or this machine's, is wrong."""
        ahead = moment_of(self.record.started_at) - datetime.now(timezone.utc)
        return ahead > CLOCK_SKEW


def batch_statuses(layout: Layout) -> list[BatchStatus]:
    """All batches of a root whose folders are kept, oldest first; those of other versions may be missing.

    Disturbs no batch: the batch lock is only read. Raises RootMissingError and OSError.
    """
    layout.check_runs_dir()
    # First the records: a batch that begins after them is not among them.
    found = [(folder, find_record(folder)) for folder in list_batches(layout)]
    return [_status(folder, record, layout) for folder, record in found if record is not None]


def status_of(layout: Layout, folder: BatchFolder) -> BatchStatus:
    """How one batch is. Raises OSError and BatchMissingError."""
    record = folder.read_record()
    return _status(folder, record, layout)


def _status(folder: BatchFolder, record: BatchRecord, layout: Layout) -> BatchStatus:
    state: State | Literal["killed"] = record.state
    if state == "running" and not _holds_its_lock(record, layout):
        again = find_record(folder)  # it may have ended after its record was read, and released the lock
        record = again or record
        state = record.state if record.state != "running" else "killed"
    unfinished = state in ("running", "killed")
    return BatchStatus(
        record,
        state,
        progress=read_progress(folder.progress) if unfinished else None,
        result=None if unfinished else _result(folder),
        folder=folder,
    )


def _holds_its_lock(record: BatchRecord, layout: Layout) -> bool:
    holder = holder_of(replace(layout, shard=record.shard))
    return holder is not None and holder.description == batch_name(record.batch_id)


def _result(folder: BatchFolder) -> Result | None:
    try:
        metrics = read_metrics(folder.metrics)
    except (OSError, SourceMissingError, UsageError):
        return None
    return Result(metrics.counts, metrics.timing)
