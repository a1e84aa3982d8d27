"""What a batch derives from its options before it starts, and the checks that need the file system."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import product
from typing import Any

from ..errors import UsageError
from ..memory_limit import MemoryBound
from ..options import BatchOptions, PersistOptions
from ..partition import Partition
from ..paths import Layout, check_roots
from ..plan import refuse_places_of_runs
from ..sources import is_read_from
from ..storage.atomic_write import dangling_link
from ..storage.result_files import is_stream

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
"""Of ``config_of``: what is done, and not how."""


def check_places(options: BatchOptions, sources: Sequence[str] = ()) -> None:
    """Raise UsageError where the batch must not write: roots that do not exist, files of its own among the
    runs' files or among its sources.

    For a caller who has written nothing yet.
    """
    with suppress(FileNotFoundError):  # the working folder is gone: that shows where a path needs it
        for name, root in (("out-dir", options.out_dir), ("runs-dir", options.runs_dir)):
            if (link := dangling_link(root)) is not None:
                raise UsageError(
                    f"{name} leads through a link whose target does not exist: {link} -> {os.readlink(link)};"
                    " make or mount the target first, or remove the link"
                )
        check_roots(options.out_dir, options.runs_dir)
        refuse_places_of_runs(layout_of(options), own_paths(options))
        for path, source in product(own_paths(options), map(os.fspath, sources)):
            if is_read_from(source, path) and not is_stream(path):
                raise UsageError(f"{path} would be read from the source {source}; name another file")


def layout_of(options: BatchOptions) -> Layout:
    """The two roots, and which partition of their tasks the batch works on."""
    shard = options.partition.name if options.partition else ""
    return Layout(os.path.abspath(options.out_dir), os.path.abspath(options.runs_dir), shard)


def metrics_path(options: BatchOptions) -> str:
    """Where the metrics go."""
    return _for_shard(_metrics(options), options.partition)


def outcomes_path(options: BatchOptions) -> str | None:
    """Where the outcome table goes; None: nowhere."""
    return None if options.outcomes is None else _for_shard(options.outcomes, options.partition)


def textfile_path(options: BatchOptions) -> str | None:
    """Where the figures for the monitoring go; None: nowhere."""
    textfile = options.prometheus_textfile
    return None if textfile is None else _for_shard(textfile, options.partition)


def own_paths(options: BatchOptions) -> list[str]:
    """The files that this batch and those of the other partitions write for themselves."""
    files = list(filter(None, (_metrics(options), options.outcomes, options.prometheus_textfile)))
    of = options.partition.of if options.partition else 0
    shards = [Partition(number, of) for number in range(1, of + 1)]
    return [_for_shard(path, each) for path in files for each in (None, *shards)]


def _metrics(options: BatchOptions) -> str:
    return options.metrics or os.path.join(options.out_dir, "metrics.json")


def _for_shard(path: str, shard: Partition | None) -> str:
    """All shards are given the same options, and none may replace what another one wrote.

    A device or a pipe has room for all of them.
    """
    if shard is None or is_stream(path):
        return path
    stem, suffix = os.path.splitext(path)
    return f"{stem}-{shard.name}{suffix}"


def memory_bound(options: BatchOptions) -> MemoryBound:
    """The bound for each process of the batch; it has to do for everything where there is but one."""
    return MemoryBound(options.max_memory_bytes, in_one_process=options.workers == 1)


def keeps_cache(options: BatchOptions) -> bool:
    """Whether the batch leaves a cache for the next one.

    One commit for each run is for comparison: there it would cost, and give nothing.
    """
    return options.cache and options.commit == "task"


def reads_cache(options: BatchOptions) -> bool:
    """Whether what is known to be unchanged is left alone, instead of compared."""
    return keeps_cache(options) and not options.verify_unchanged


def persist_options(
    options: BatchOptions, spool: str, *, sweep: bool = False, beats: str | None = None
) -> PersistOptions:
    """What the workers need to know of the batch's options; the rest as ``PersistOptions`` has it."""
    return PersistOptions(
        out_dir=os.path.abspath(options.out_dir),
        runs_dir=os.path.abspath(options.runs_dir),
        spool=spool,
        keys=options.keys,
        durability=options.durability,
        commit=options.commit,
        pair=options.pair,
        lock_policy=options.lock_policy,
        force=options.force,
        cache=reads_cache(options),
        max_snapshot_units=options.max_snapshot_units,
        sweep=sweep,
        beats=beats,
        take_fingerprints=keeps_cache(options),
    )


def config_of(options: BatchOptions, sources: Sequence[str]) -> dict[str, Any]:
    """The ``config`` of metrics.json: every value as the command line would word it."""
    return {
        "sources": [os.fspath(source) for source in sources],
        "out_dir": options.out_dir,
        "runs_dir": options.runs_dir,
        "metrics": metrics_path(options),
        "outcomes": outcomes_path(options),
        "prometheus_textfile": textfile_path(options),
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
