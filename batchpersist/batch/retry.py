"""Retries the failed runs of a batch as a new batch of the same sources, roots and keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import msgspec

from ..context import OnEvent, RunContext, ShouldStop, ignore_event, never_stop
from ..errors import BatchMissingError, UsageError
from ..metrics.batch_report import BatchReport
from ..models import Keys, RetryKind, RetryOf
from ..options import BatchOptions, Selection
from ..partition import Partition
from ..paths import Layout
from ..records.batch_folder import BatchRecord, find_batch
from ..sources import STANDARD_INPUT, is_remote, is_there
from ..storage.atomic_write import working_folder
from .failed_runs import FailedRuns
from .run import run_batch

DEFAULT_KINDS: tuple[RetryKind, ...] = ("failed", "locked")
_KINDS = (*DEFAULT_KINDS, "invalid")


class _Config(msgspec.Struct):
    """What a retry takes over, as ``batch.json`` has it."""

    sources: list[str]
    out_dir: str
    metrics: str
    task_key: str
    run_key: str
    time_key: str
    tasks: tuple[str, ...]
    since: str | None
    until: str | None
    shard: str | None


@dataclass(frozen=True)
class RetryPlan:
    """What is to be done again, for ``run_batch``."""

    retry: RetryOf
    sources: Sequence[str]
    options: BatchOptions
    items: int
    """Runs that did not stand, and places of invalid input; 0: there is nothing to do."""
    invalid: int
    """Places of invalid input that are not asked for."""


def plan_retry(
    batch: str,
    options: BatchOptions,
    only: Sequence[RetryKind] = (),
    should_stop: ShouldStop = never_stop,
) -> RetryPlan:
    """What is to be done again of a batch of ``options.runs_dir``: the start of its id, or ``latest``.

    Roots, keys, selection (but for its limit), shard and metrics' place are that batch's, all else is from
    ``options``. ``only``: which runs (by default failed and locked ones). A retry that did not come to
    its end is gone on with. Raises BatchMissingError, also where the batch did not come to its end;
    UsageError; ScanStoppedError where ``should_stop`` ends the look-up of a source; OSError. Looks only.
    """
    if not set(only) <= set(_KINDS):
        raise UsageError(f"what is retried is {', '.join(_KINDS)}, not {', '.join(only)}")
    layout = Layout("", os.path.abspath(options.runs_dir))
    folder = find_batch(layout, batch)
    record = folder.read_record()
    if record.retry_of is not None and record.state != "finished":
        only = only or record.retry_of.only
        folder = find_batch(layout, record.retry_of.batch_id)
        record = folder.read_record()
    chosen = tuple(kind for kind in _KINDS if kind in (only or DEFAULT_KINDS))
    retry = RetryOf(folder.batch_id, chosen)
    sources = [_from(record, name) for name in _config(record).sources if name != STANDARD_INPUT]
    return RetryPlan(
        retry,
        sources=[source for source in sources if is_there(source, RunContext(should_stop=should_stop).check)],
        options=_options(record, options, retry),
        items=len(FailedRuns(layout, retry)),
        invalid=0 if "invalid" in chosen else len(FailedRuns(layout, replace(retry, only=("invalid",)))),
    )


def retry_batch(
    batch: str = "latest",
    options: BatchOptions = BatchOptions(),
    *,
    only: Sequence[RetryKind] = (),
    executor: Executor | None = None,
    on_event: OnEvent = ignore_event,
    should_stop: ShouldStop = never_stop,
) -> BatchReport | None:
    """Settle again what did not stand after a batch (see ``plan_retry``), as a new batch.

    None: all of it stands. What is no longer in the sources is reported as invalid input. All else is as
    in ``run_batch``.
    """
    retry = plan_retry(batch, options, only, should_stop)
    if not retry.items:
        return None
    return run_batch(
        retry.sources, retry.options, executor=executor, on_event=on_event, should_stop=should_stop
    )


def _options(record: BatchRecord, given: BatchOptions, retry: RetryOf) -> BatchOptions:
    config = _config(record)
    return replace(
        given,
        out_dir=_from(record, config.out_dir),
        metrics=given.metrics or _from(record, _unnamed(config.metrics, record.shard)),
        keys=Keys(config.task_key, config.run_key, config.time_key),
        selection=Selection(config.tasks, config.since, config.until),
        partition=Partition.parse(config.shard) if config.shard else None,
        retry_of=retry,
    )


def _config(record: BatchRecord) -> _Config:
    try:
        return msgspec.convert(record.config, _Config)
    except msgspec.MsgspecError as error:
        raise BatchMissingError(f"the record of batch {record.batch_id} is incomplete: {error}") from None


def _unnamed(path: str, shard: str) -> str:
    """A report's path before its shard was named in it, which is done again."""
    stem, suffix = os.path.splitext(path)
    return stem.removesuffix(f"-{shard}") + suffix


def _from(record: BatchRecord, path: str) -> str:
    """A path of the batch, for this process: as it was named, where that means the same."""
    here = record.cwd == working_folder() or is_remote(path)
    return path if here else os.path.join(record.cwd, path)
