"""All options and policies: plain values, checked for what they say, whatever they are applied to.

What a batch needs the file system for is checked where it begins (``batch_job``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from .errors import UsageError
from .memory_limit import MemoryBound
from .models import DEFAULT_KEYS, Durability, Keys, RetryOf
from .option_checks import Options
from .partition import Partition
from .paths import Layout
from .timestamps import parse_instant, parse_period

POOL_RUNS = 2_000
"""From so many runs on a pool pays: to start one takes about as long as to persist these."""

NODE_LIMIT = 536_870_888
"""``buffer.constants.MAX_STRING_LENGTH`` of Node.js on 64 bits."""

NO_LIMIT = "none"

OUTCOME_SUFFIXES = ("", ".parquet", ".csv")
"""Of the outcome table's file; without one it is Parquet."""


@dataclass(frozen=True, repr=False)
class LockPolicy(Options):
    """How often to try for a lock, and when one is stale. The defaults are the orchestrator's."""

    attempts: int = 5
    """At least one is made."""
    first_delay_seconds: float = 0.1
    """Between the first and the second attempt; doubled each time."""
    max_delay_seconds: float = 1.0
    stale_seconds: float = 300.0
    """A lock file whose mtime is not older is never broken."""

    def delays(self) -> Iterator[float]:
        """Seconds to sleep before each attempt but the first."""
        delay = self.first_delay_seconds
        for _ in range(self.attempts - 1):
            yield min(delay, self.max_delay_seconds)
            delay *= 2


@dataclass(frozen=True, repr=False)
class RetryPolicy(Options):
    """How often to retry, and how long to wait before it."""

    rounds: int = 1
    """Each of them retries all that has failed so far and may pass."""
    first_delay_seconds: float = 0.5
    """Before the first round at most, doubled for each further one; the wait is drawn at
    random from zero up to it, so that many batches do not come back all at once."""
    max_delay_seconds: float = 8.0
    wait_for_space_seconds: float = 0.0
    """How long to wait for space on a full disk before a round; 0: a full disk is final."""


@dataclass(frozen=True, repr=False)
class FailurePolicy(Options):
    """Stop taking new work once more than ``limit`` runs have failed or were invalid."""

    limit: float | None = None
    """None: never stop."""
    percent: bool = False
    """``limit`` is a percentage of the runs discovered."""

    @classmethod
    def parse(cls, text: str) -> FailurePolicy:
        """From ``N``, ``N%`` or ``none``; raises UsageError on anything else."""
        if text == NO_LIMIT:
            return cls()
        number = text.removesuffix("%")
        percent = number != text
        try:
            limit = float(number) if percent else int(number)
        except ValueError:
            limit = -1
        if not (0 <= limit <= 100 if percent else limit >= 0):
            raise UsageError(f"expected a number of runs or a percentage such as 5%, not {text!r}")
        return cls(limit, percent)

    def exceeded(self, failures: int, discovered: int) -> bool:
        """Whether ``failures``, of so many runs in the sources, are more than may be."""
        if self.limit is None:
            return False
        return failures > (self.limit * discovered / 100 if self.percent else self.limit)

    def __str__(self) -> str:
        return NO_LIMIT if self.limit is None else f"{self.limit:g}{'%' if self.percent else ''}"


@dataclass(frozen=True, repr=False)
class Selection(Options):
    """Which of the discovered runs to persist.

    Times are selected as instants, whatever their spelling; they are UTC where they have no zone. ``since``
    and ``until`` take an ISO 8601 time or day, ``now``, ``today``, ``yesterday``, or how long ago (``7d``,
    ``2 days ago``), which is resolved at once: both then hold ISO text. UsageError for anything else,
    and where ``since`` is later than ``until``.
    """

    tasks: tuple[str, ...] = ()
    """Shell patterns, any of which may match; empty: all tasks."""
    since: str | None = None
    """Runs completed at this instant or later; of a day, from its start."""
    until: str | None = None
    """Runs completed before this instant; of a day, to its end."""
    limit: int | None = None
    """As if the sources had ended after so many matching runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, at_end in (("since", False), ("until", True)):
            given = getattr(self, name)
            if given is not None:
                try:
                    object.__setattr__(self, name, parse_period(given)[at_end])
                except ValueError as error:
                    raise UsageError(f"{name}: {error}") from None
        if (
            self.since is not None
            and self.until is not None
            and parse_instant(self.since) > parse_instant(self.until)
        ):
            raise UsageError(f"since ({self.since}) is later than until ({self.until}): no run can match")


@dataclass(frozen=True, kw_only=True)
class CommitOptions:
    """How snapshots are written, and where. Picklable."""

    out_dir: str
    runs_dir: str
    keys: Keys = DEFAULT_KEYS
    durability: Durability = Durability.BATCH
    lock_policy: LockPolicy = field(default_factory=LockPolicy)
    force: bool = False
    """Write even what is unchanged."""
    cache: bool = True
    """Note down what is known of a long snapshot, so that the next commit need not read it."""
    max_snapshot_units: int | None = NODE_LIMIT
    """UTF-16 units of a snapshot, at most; None: no limit."""

    @property
    def layout(self) -> Layout:
        return Layout(self.out_dir, self.runs_dir)


@dataclass(frozen=True, kw_only=True)
class PersistOptions(CommitOptions):
    """How a worker writes pairs; every job carries it. Picklable."""

    spool: str
    """The folder for copies of sources that cannot be read by position."""
    commit: Literal["task", "run"] = "task"
    """One commit for all of a task's runs in a shard, or one for each run."""
    pair: Literal["concurrent", "sequential"] = "concurrent"
    """Both writes at once, or the snapshot first and then the manifest (the rollback)."""
    sweep: bool = False
    """An earlier batch died, and may have left temporary files where this one is to write."""
    beats: str | None = None
    """The folder for heartbeats (``persist.liveness``); None: no supervisor watches."""
    take_fingerprints: bool = False
    """Report by which files each run exists, for the next batch's cache."""


@dataclass(frozen=True, repr=False)
class BatchOptions(Options):
    """The command's options, with its defaults but for ``workers``. Relative paths are the caller's."""

    out_dir: str = "out"
    runs_dir: str = ".runs"
    metrics: str | None = None
    """Where to write the metrics; None: ``<out_dir>/metrics.json``. A shard is named before the suffix."""
    outcomes: str | None = None
    """Where to save the outcome table, as CSV (``.csv``) or Parquet; None: nowhere. Named likewise."""
    prometheus_textfile: str | None = None
    """Where to leave the figures for node_exporter's textfile collector; None: nowhere. Named likewise."""
    keys: Keys = DEFAULT_KEYS
    selection: Selection = field(default_factory=Selection)
    partition: Partition | None = None
    """Persist this share of the tasks, and leave the others to other batches. None: all of them."""
    workers: int = 1
    pool_runs: int = POOL_RUNS
    """Stay in-process below so many runs."""
    commit: Literal["task", "run"] = "task"
    pair: Literal["concurrent", "sequential"] = "concurrent"
    durability: Durability = Durability.BATCH
    lock_policy: LockPolicy = field(default_factory=LockPolicy)
    force: bool = False
    cache: bool = True
    """Use the cache of unchanged sources and outputs, and leave one for the next batch."""
    verify_unchanged: bool = False
    """Read and compare them all the same; the cache is still left for the next batch."""
    fail_if_empty: bool = False
    """Exit code 3 where no run is found, or none of them is selected."""
    failure_policy: FailurePolicy = field(default_factory=FailurePolicy)
    max_duration_seconds: float | None = None
    """No new work begins after so long, and the batch ends when its pairs have settled. None: no limit."""
    max_memory_bytes: int | None = None
    """Of each process of the batch (peak RSS). None: no limit."""
    max_snapshot_units: int | None = NODE_LIMIT
    """UTF-16 units: a snapshot that would have more is not written, and its runs fail. None: no limit."""
    run_timeout_seconds: float | None = None
    """A worker that shows no sign of life for so long is killed. None: never."""
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    resume: bool = True
    """Continue the latest batch of the same work, if it did not finish."""
    retry_of: RetryOf | None = None
    """Persist only what failed in an earlier batch (``batch.retry``)."""
    keep_batches: int = 10
    """How many batches leave their folders to be read later, this one included."""
    wait_seconds: float = 0.0
    """How long to wait for another batch on this root to end."""

    def __post_init__(self) -> None:
        """Raises UsageError for what could not be carried out."""
        super().__post_init__()
        if self.run_timeout_seconds is not None and not self.run_timeout_seconds > 0:
            raise UsageError(f"a run must be given some time, not {self.run_timeout_seconds:g} seconds")
        if self.max_duration_seconds is not None and not self.max_duration_seconds > 0:
            raise UsageError(f"a batch must be given some time, not {self.max_duration_seconds:g} seconds")
        MemoryBound(self.max_memory_bytes)  # refuses what is too little for anything
        check_limit(self.max_snapshot_units)
        if self.keep_batches < 1:
            raise UsageError(f"at least this batch must be kept, not {self.keep_batches}")
        if self.workers < 1:
            raise UsageError(f"at least one worker is needed, not {self.workers}")
        if self.outcomes is not None and os.path.splitext(self.outcomes)[1] not in OUTCOME_SUFFIXES:
            raise UsageError(f"outcomes are written to a file named .parquet or .csv, not {self.outcomes}")


def check_limit(limit: int | None) -> None:
    """Raise UsageError for a limit that no snapshot could keep."""
    if limit is not None and limit < 1:
        raise UsageError(f"a snapshot must have some length, not {limit} UTF-16 units")
