"""Cutting the work of an audit by tasks, and what a worker does with a piece of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from ..planning.job import ShardJob, ShardRows
from ..planning.shards import SHARD_BYTES, SHARD_TASKS
from ..settling.payloads import PayloadReader
from .check_task import NO_SOURCES, Look, Share, Sources, TaskLook
from .options import AuditOptions

HOT_BYTES = 4 * SHARD_BYTES
"""A task with more to read is cut into shares: each reads its snapshot, but only some of its manifests."""


class LookJob(NamedTuple):
    """Some shares of tasks, for one worker. Picklable."""

    shares: tuple[Share, ...]
    source: ShardJob | None = None
    """What the sources hold of them."""
    only: Mapping[Share, Collection[str]] | None = None
    """The runs to look at; None: all."""


def look(job: LookJob, options: AuditOptions, keep_same: bool, spool: str) -> list[TaskLook]:
    """Look at each of the shares once; what the audit sends to a worker. ``spool``: of the sources' scan."""
    if job.source is None:
        return [_take(share, NO_SOURCES, job, options, keep_same) for share in job.shares]
    rows = job.source.refs()
    tasks = dict(rows.tasks(range(len(rows))))
    with PayloadReader(options.keys, spool) as reader:
        return [
            _take(share, _sources(rows, tasks.get(share.task_id, range(0)), reader), job, options, keep_same)
            for share in job.shares
        ]


def _take(share: Share, sources: Sources, job: LookJob, options: AuditOptions, keep_same: bool) -> TaskLook:
    only = None if job.only is None else job.only[share]
    return Look(share, options, sources, only=only, keep_same=keep_same).take()


def _sources(rows: ShardRows, task: range, reader: PayloadReader) -> Sources:
    """Of a run that comes several times the last one counts."""
    row_of = {rows.run_ids[row]: row for row in task if not rows.superseded(row)}

    def text(run_id: str) -> bytes | None:
        row = row_of.get(run_id)
        return None if row is None else reader.text(rows.keys(row), *rows.place(row))

    return Sources(row_of.keys(), text)


def shares_of(task_id: str, size: int, workers: int) -> Iterator[Share]:
    """One for a task of which there is little to read, else several. ``size``: bytes, about."""
    of = 1 if workers == 1 or size <= HOT_BYTES else min(-(-size // HOT_BYTES), 4 * workers)
    for number in range(of):
        yield Share(task_id, number, of)


def pack(tasks: Iterable[tuple[str, int]], workers: int) -> Iterator[tuple[Share, ...]]:
    """Small tasks together, large ones cut. ``tasks``: ids, and about how many bytes there are to read."""
    batch: list[Share] = []
    total = 0
    for task_id, size in tasks:
        shares = list(shares_of(task_id, size, workers))
        if batch and (len(shares) > 1 or total + size > SHARD_BYTES or len(batch) == SHARD_TASKS):
            yield tuple(batch)
            batch, total = [], 0
        if len(shares) > 1:
            yield from ((share,) for share in shares)
        else:
            batch += shares
            total += size
    if batch:
        yield tuple(batch)
