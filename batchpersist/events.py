"""What a batch reports to its caller while it runs: plain data, one type for each kind of event."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .models import Failure


class Progress(NamedTuple):
    """How far the work is."""

    phase: Literal["scan", "compare", "settle", "audit", "repair", "try", "measure"]
    done: int
    """Runs; where a comparison tries and measures, batches."""
    total: int | None
    """None while it is not known."""
    failed: int
    """Runs that failed or were invalid so far; in an audit, differences."""
    resumed: int = 0
    """Of ``done``: those that an earlier part of the batch had persisted. They do not count for a rate."""


class RunFailed(NamedTuple):
    """One input was invalid, or one side of a pair failed for good."""

    stage: Literal["input", "snapshot", "manifest"]
    failure: Failure
    source: str
    line: int
    """0 where no line was reached."""
    task_id: str
    """Empty for invalid input."""
    run_id: str


class BatchWaiting(NamedTuple):
    """Another batch works on the root; this one waits for its end. Reported once."""

    holder: str
    """Who that is, and since when, as a sentence shows it."""
    seconds: float
    """How long this batch waits at most."""


class BatchStarted(NamedTuple):
    """The batch has an id now, and a folder in which it records its progress (docs/batches.md)."""

    batch_id: str
    folder: str


class BatchResumed(NamedTuple):
    """The batch was interrupted earlier; this command finishes it."""

    batch_id: str
    settled: int
    """Runs of it that had settled on both sides."""
    selected: int
    """Runs of it in all."""


class RetryStarted(NamedTuple):
    """The batch retries what failed in an earlier one; reported once its runs have been found."""

    batch_id: str
    """The earlier one's."""
    runs: int
    """Runs of it that are persisted again."""
    gone: int
    """Runs of it that are no longer in the sources."""


Event = Progress | RunFailed | BatchWaiting | BatchStarted | BatchResumed | RetryStarted
