"""All that a batch can be told."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from .errors import UsageError
from .files.folders import dangling_link
from .files.outputs import is_stream
from .layout import Layout, check_roots
from .locking.locks import LockPolicy
from .memory import MemoryBound
from .models import DEFAULT_KEYS, Durability, Keys, RetryOf
from .planning.ownplaces import refuse_places_of_runs
from .planning.selection import Selection
from .runs.partition import Partition
from .scheduling.executors import POOL_RUNS
from .scheduling.policy import FailurePolicy
from .scheduling.retries import RetryPolicy
from .settling.settleoptions import SettleOptions
from .snapshots.length import NODE_LIMIT, check_limit

WORK = (
    "sources",
    "out_dir",
    "runs_dir",
    "task_key",
    "run_key",
    "time_key",
    "tasks",
    "since",
    "until",
    "limit",
)
"""Of ``as_config``: what is done, and not how."""

OUTCOME_SUFFIXES = ("", ".parquet", ".csv")
"""Of the outcome table's file; without one it is Parquet."""


@dataclass(frozen=True)
class BatchOptions:
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
    shard: Partition | None = None
    """Settle this share of the tasks, and leave the others to other batches; None: all of them."""
    workers: int = 1
    pool_runs: int = POOL_RUNS
    """Stay in-process below so many runs."""
    commit: Literal["task", "run"] = "task"
    pair: Literal["concurrent", "sequential"] = "concurrent"
    durability: Durability = Durability.BATCH
    lock: LockPolicy = field(default_factory=LockPolicy)
    force: bool = False
    cache: bool = True
    """Use what the last batch learnt of unchanged sources and outputs, and leave it for the next."""
    verify_unchanged: bool = False
    """Read and compare them all the same; what is learnt is left for the next batch."""
    fail_if_empty: bool = False
    """Exit code 3 where no run is found, or none of them is selected."""
    failures: FailurePolicy = field(default_factory=FailurePolicy)
    max_duration: float | None = None
    """Seconds after which no new work is taken, and the batch ends when what has begun is settled.

    None: it may take as long as it will."""
    max_memory: int | None = None
    """Bytes (peak RSS) that each process of the batch may take; None: as many as it needs."""
    max_snapshot_size: int | None = NODE_LIMIT
    """UTF-16 units of a snapshot: one that would have more is not written, its runs fail. None: no limit."""
    run_timeout: float | None = None
    """Seconds after which a worker that shows no sign of life is killed; None: it is waited for."""
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    resume: bool = True
    """Continue the latest batch of the same work, if it did not finish."""
    retry_of: RetryOf | None = None
    """Settle only what of an earlier batch did not stand (``operations.retry``)."""
    keep_batches: int = 10
    """How many batches leave their folders to be read later, this one included."""
    wait: float = 0.0
    """Seconds to wait for another batch on this root to end."""

    def __post_init__(self) -> None:
        """Raises UsageError for what could not be carried out."""
        for name in ("out_dir", "runs_dir", "metrics", "outcomes", "prometheus_textfile"):
            path = getattr(self, name)
            object.__setattr__(self, name, path if path is None else os.fspath(path))
        for name, values in (("commit", ("task", "run")), ("pair", ("concurrent", "sequential"))):
            if getattr(self, name) not in values:
                raise UsageError(f"{name} is {' or '.join(values)}, not {getattr(self, name)!r}")
        if self.run_timeout is not None and not self.run_timeout > 0:
            raise UsageError(f"a run must be given some time, not {self.run_timeout:g} seconds")
        if self.max_duration is not None and not self.max_duration > 0:
            raise UsageError(f"a batch must be given some time, not {self.max_duration:g} seconds")
        spans = (self.max_duration, self.run_timeout, self.wait, self.retries.space_seconds)
        for seconds in (*spans, self.lock.stale_seconds):
            if seconds is not None and not math.isfinite(seconds):
                raise UsageError(f"a number of seconds is needed, not {seconds}")
        MemoryBound(self.max_memory)  # refuses what is too little for anything
        check_limit(self.max_snapshot_size)
        if self.keep_batches < 1:
            raise UsageError(f"at least this batch must be kept, not {self.keep_batches}")
        if self.workers < 1:
            raise UsageError(f"at least one worker is needed, not {self.workers}")
        with suppress(FileNotFoundError):  # the working folder is gone: that shows where a path needs it
            self._check_roots()
            refuse_places_of_runs(self.layout(), self.own_paths)
        if self.outcomes is not None and os.path.splitext(self.outcomes)[1] not in OUTCOME_SUFFIXES:
            raise UsageError(f"outcomes are written to a file named .parquet or .csv, not {self.outcomes}")
        try:
            object.__setattr__(self, "durability", Durability(self.durability))
        except ValueError as error:
            raise UsageError(str(error)) from None

    def _check_roots(self) -> None:
        for name, root in (("out-dir", self.out_dir), ("runs-dir", self.runs_dir)):
            if (link := dangling_link(root)) is not None:
                raise UsageError(
                    f"{name} leads through a link whose target does not exist: {link} -> {os.readlink(link)};"
                    " make or mount the target first, or remove the link"
                )
        check_roots(self.out_dir, self.runs_dir)

    @property
    def metrics_path(self) -> str:
        """Where the metrics go."""
        return _for_shard(self._metrics, self.shard)

    @property
    def outcomes_path(self) -> str | None:
        """Where the outcome table goes."""
        return None if self.outcomes is None else _for_shard(self.outcomes, self.shard)

    @property
    def textfile_path(self) -> str | None:
        """Where the figures for the monitoring go."""
        textfile = self.prometheus_textfile
        return None if textfile is None else _for_shard(textfile, self.shard)

    @property
    def own_paths(self) -> list[str]:
        """The files that this batch and the other shards of it write for themselves."""
        files = list(filter(None, (self._metrics, self.outcomes, self.prometheus_textfile)))
        of = self.shard.of if self.shard else 0
        shards = [Partition(number, of) for number in range(1, of + 1)]
        return [_for_shard(path, each) for path in files for each in (None, *shards)]

    @property
    def _metrics(self) -> str:
        return self.metrics or os.path.join(self.out_dir, "metrics.json")

    def layout(self) -> Layout:
        """The two roots, and what of them this batch works on."""
        shard = self.shard.name if self.shard else ""
        return Layout(os.path.abspath(self.out_dir), os.path.abspath(self.runs_dir), shard)

    @property
    def memory(self) -> MemoryBound:
        """``max_memory``, and what it leaves room for."""
        return MemoryBound(self.max_memory, in_one_process=self.workers == 1)

    @property
    def keeps_catalogue(self) -> bool:
        """One commit for each run is for comparison: there it would cost, and give nothing."""
        return self.cache and self.commit == "task"

    @property
    def reads_catalogue(self) -> bool:
        """What is known to be unchanged is left alone, instead of compared."""
        return self.keeps_catalogue and not self.verify_unchanged

    def settling(self, spool: str, *, sweep: bool = False, beats: str | None = None) -> SettleOptions:
        """What a worker needs to know of them; for the batch itself."""
        return SettleOptions(
            out_dir=os.path.abspath(self.out_dir),
            runs_dir=os.path.abspath(self.runs_dir),
            spool=spool,
            keys=self.keys,
            durability=self.durability,
            commit=self.commit,
            pair=self.pair,
            lock=self.lock,
            force=self.force,
            cache=self.reads_catalogue,
            memory=self.memory,
            max_snapshot_size=self.max_snapshot_size,
            sweep=sweep,
            beats=beats,
            take_stamps=self.keeps_catalogue,
        )

    def as_config(self, sources: Sequence[str]) -> dict[str, Any]:
        """As metrics.json shows it: every value as the command line would word it."""
        return {
            "sources": [os.fspath(source) for source in sources],
            "out_dir": self.out_dir,
            "runs_dir": self.runs_dir,
            "metrics": self.metrics_path,
            "outcomes": self.outcomes_path,
            "prometheus_textfile": self.textfile_path,
            "task_key": self.keys.task,
            "run_key": self.keys.run,
            "time_key": self.keys.time,
            "tasks": list(self.selection.tasks),
            "since": self.selection.since,
            "until": self.selection.until,
            "limit": self.selection.limit,
            "shard": str(self.shard) if self.shard else None,
            "workers": self.workers,
            "commit": self.commit,
            "pair": self.pair,
            "durability": self.durability.value,
            "lock_attempts": self.lock.attempts,
            "lock_stale": self.lock.stale_seconds,
            "force": self.force,
            "cache": self.cache,
            "verify_unchanged": self.verify_unchanged,
            "fail_if_empty": self.fail_if_empty,
            "max_failures": str(self.failures),
            "max_duration": self.max_duration,
            "max_memory": self.max_memory,
            "max_snapshot_size": self.max_snapshot_size,
            "run_timeout": self.run_timeout,
            "retries": self.retries.rounds,
            "wait_for_space": self.retries.space_seconds,
            "resume": self.resume,
            "retry_of": self.retry_of and asdict(self.retry_of),
            "keep_batches": self.keep_batches,
            "wait": self.wait,
        }


def _for_shard(path: str, shard: Partition | None) -> str:
    """All shards are given the same options, and none may replace what another one wrote.

    A device or a pipe has room for all of them.
    """
    if shard is None or is_stream(path):
        return path
    stem, suffix = os.path.splitext(path)
    return f"{stem}-{shard.name}{suffix}"
