"""The job of a batch: its sources, its options, and what follows from both: roots, files, bounds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from hashlib import blake2b
from itertools import product
from typing import Any

from .errors import UsageError
from .memory_limit import MemoryBound
from .options import BatchOptions, PersistOptions
from .partition import Partition
from .paths import Layout, check_roots
from .plan import refuse_places_of_runs
from .sources import absolute, is_read_from, paths_of
from .storage.atomic_write import dangling_link
from .storage.result_files import is_stream

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
"""Of ``BatchJob.config``: what is done, and not how."""


class BatchJob:
    """What a batch is to do. Does not change; reads the file system only to recognize devices."""

    def __init__(self, options: BatchOptions, sources: Iterable[str | os.PathLike[str]] = ()) -> None:
        """Raises UsageError where ``sources`` is a single path."""
        self.options = options
        self.sources = paths_of(sources)

    def check_paths(self) -> None:
        """Raise UsageError where the batch must not write: roots that do not exist, files of its own among
        the runs' files or among its sources.

        For a caller who has written nothing yet.
        """
        options = self.options
        with suppress(FileNotFoundError):  # the working folder is gone: that shows where a path needs it
            for name, root in (("out-dir", options.out_dir), ("runs-dir", options.runs_dir)):
                if (link := dangling_link(root)) is not None:
                    raise UsageError(
                        f"{name} leads through a link whose target does not exist: {link} -> "
                        f"{os.readlink(link)}; make or mount the target first, or remove the link"
                    )
            check_roots(options.out_dir, options.runs_dir)
            refuse_places_of_runs(self.layout, self.own_paths)
            for path, source in product(self.own_paths, self.sources):
                if is_read_from(source, path) and not is_stream(path):
                    raise UsageError(f"{path} would be read from the source {source}; name another file")

    @cached_property
    def layout(self) -> Layout:
        """The two roots, absolute, and which partition of their tasks the batch works on."""
        options = self.options
        shard = options.partition.name if options.partition else ""
        return Layout(os.path.abspath(options.out_dir), os.path.abspath(options.runs_dir), shard)

    @property
    def metrics_path(self) -> str:
        """Where the metrics go."""
        return _for_partition(self._metrics, self.options.partition)

    @property
    def outcomes_path(self) -> str | None:
        """Where the outcome table goes; None: nowhere."""
        path = self.options.outcomes
        return None if path is None else _for_partition(path, self.options.partition)

    @property
    def textfile_path(self) -> str | None:
        """Where the figures for the monitoring go; None: nowhere."""
        path = self.options.prometheus_textfile
        return None if path is None else _for_partition(path, self.options.partition)

    @property
    def own_paths(self) -> list[str]:
        """The files that this batch and those of the other partitions write for themselves."""
        options = self.options
        files = list(filter(None, (self._metrics, options.outcomes, options.prometheus_textfile)))
        of = options.partition.of if options.partition else 0
        partitions = [Partition(number, of) for number in range(1, of + 1)]
        return [_for_partition(path, each) for path in files for each in (None, *partitions)]

    @property
    def _metrics(self) -> str:
        return self.options.metrics or os.path.join(self.options.out_dir, "metrics.json")

    @property
    def memory_bound(self) -> MemoryBound:
        """The bound for each process of the batch; it has to do for everything where there is but one."""
        return MemoryBound(self.options.max_memory_bytes, in_one_process=self.options.workers == 1)

    @property
    def writes_cache(self) -> bool:
        """Whether the batch leaves a cache for the next one.

        One commit for each run is for comparison: there it would cost, and give nothing.
        """
        return self.options.cache and self.options.commit == "task"

    @property
    def reads_cache(self) -> bool:
        """Whether what is known to be unchanged is left alone, instead of compared."""
        return self.writes_cache and not self.options.verify_unchanged

    def persist_options(self, spool: str, *, sweep: bool = False, beats: str | None = None) -> PersistOptions:
        """What the workers need to know; ``sweep`` and ``beats`` as ``PersistOptions`` has them."""
        options = self.options
        return PersistOptions(
            out_dir=self.layout.out_dir,
            runs_dir=self.layout.runs_dir,
            spool=spool,
            keys=options.keys,
            durability=options.durability,
            commit=options.commit,
            pair=options.pair,
            lock_policy=options.lock_policy,
            force=options.force,
            cache=self.reads_cache,
            max_snapshot_units=options.max_snapshot_units,
            sweep=sweep,
            beats=beats,
            take_fingerprints=self.writes_cache,
        )

    @cached_property
    def digest(self) -> str:
        """Equal for the same work, whatever the working folder and however it is done."""
        paths = [self.layout.out_dir, self.layout.runs_dir, *map(absolute, self.sources)]
        retry_of = self.options.retry_of
        work = {
            "paths": [os.fsencode(path).hex() for path in paths],
            "keys": asdict(self.options.keys),
            "selection": asdict(self.options.selection),
            "shard": self.layout.shard,
            "retry_of": retry_of and asdict(retry_of),
        }
        return blake2b(json.dumps(work).encode(), digest_size=16).hexdigest()

    @property
    def config(self) -> dict[str, Any]:
        """The ``config`` of metrics.json: every value as the command line would word it."""
        options = self.options
        return {
            "sources": self.sources,
            "out_dir": options.out_dir,
            "runs_dir": options.runs_dir,
            "metrics": self.metrics_path,
            "outcomes": self.outcomes_path,
            "prometheus_textfile": self.textfile_path,
            "task_key": options.keys.task,
            "run_key": options.keys.run,
            "time_key": options.keys.time,
            "tasks": list(options.selection.tasks),
            "since": options.selection.since,
            "until": options.selection.until,
            "limit": options.selection.limit,
            "shard": str(options.partition) if options.partition else None,
            "workers": options.workers,
            "commit": options.commit,
            "pair": options.pair,
            "durability": options.durability.value,
            "lock_attempts": options.lock_policy.attempts,
            "lock_stale": options.lock_policy.stale_seconds,
            "force": options.force,
            "cache": options.cache,
            "verify_unchanged": options.verify_unchanged,
            "fail_if_empty": options.fail_if_empty,
            "max_failures": str(options.failure_policy),
            "max_duration": options.max_duration_seconds,
            "max_memory": options.max_memory_bytes,
            "max_snapshot_size": options.max_snapshot_units,
            "run_timeout": options.run_timeout_seconds,
            "retries": options.retry_policy.rounds,
            "wait_for_space": options.retry_policy.wait_for_space_seconds,
            "resume": options.resume,
            "retry_of": options.retry_of and asdict(options.retry_of),
            "keep_batches": options.keep_batches,
            "wait": options.wait_seconds,
        }


def _for_partition(path: str, partition: Partition | None) -> str:
    """A path of this partition alone: all are given the same options, and none may replace another's file.

    A device or a pipe is shared by all of them.
    """
    if partition is None or is_stream(path):
        return path
    stem, suffix = os.path.splitext(path)
    return f"{stem}-{partition.name}{suffix}"
