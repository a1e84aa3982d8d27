"""The tasks to be checked, cut into jobs for the workers, and what a worker does with a job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..models import Shard
from ..persist import PayloadReader
from ..plan import SHARD_BYTES, SHARD_TASKS, Plan, ShardJob, make_job
from .check_task import TaskCheck, TaskResult, TaskSlice, TaskSource
from .inventory import Inventory
from .models import AuditOptions

SLICE_BYTES = 4 * SHARD_BYTES
"""A task with more to read is cut into slices: each reads the snapshot, but only some of the manifests."""


class CheckJob(NamedTuple):
    """Some slices of tasks, for one worker. Picklable."""

    slices: tuple[TaskSlice, ...]
    source: ShardJob | None = None
    """What the sources hold of the tasks."""
    run_ids: Mapping[TaskSlice, Collection[str]] | None = None
    """The runs to check; None: all."""


def check_tasks(job: CheckJob, options: AuditOptions, all_statuses: bool, spool: str) -> list[TaskResult]:
    """Check each of the slices once, in a worker. ``spool``: the folder with copies of sources."""

    def check(task: TaskSlice, source: TaskSource | None) -> TaskResult:
        run_ids = None if job.run_ids is None else job.run_ids[task]
        return TaskCheck(task, options, source, run_ids=run_ids, all_statuses=all_statuses).run()

    if job.source is None:
        return [check(task, None) for task in job.slices]
    rows = job.source.rows()
    rows_of = dict(rows.tasks(range(len(rows))))
    with PayloadReader(options.keys, spool) as reader:
        return [
            check(task, TaskSource(rows, rows_of.get(task.task_id, range(0)), reader)) for task in job.slices
        ]


class AuditTasks:
    """The tasks of the sources, and those below the two roots.

    Each task is in one job; one of very many runs in several, unless it is in a source.
    """

    def __init__(self, inventory: Inventory, plan: Plan | None, workers: int) -> None:
        """``plan``: of the sources; no task is in two of its shards."""
        self._inventory = inventory
        self._plan = plan
        self._workers = workers
        self._shards = (
            {task_id: shard for shard in plan.shards for task_id in _tasks_of(plan, shard)} if plan else {}
        )
        """By task id, where the sources have it."""

    def jobs(self) -> Iterator[CheckJob]:
        """For the first check."""
        yield from self._jobs_with_sources(map(TaskSlice, self._shards))
        others = (task for task in self._inventory.tasks.items() if task[0] not in self._shards)
        yield from map(CheckJob, pack(others, self._workers))

    def jobs_again(self, results: Sequence[TaskResult]) -> Iterator[CheckJob]:
        """For the second check, of those runs alone about which the first one found something."""
        run_ids = {
            result.slice: {finding.run_id for finding in result.findings} | result.incomplete.keys()
            for result in results
        }
        in_sources = (task for task in run_ids if task.task_id in self._shards)
        for job in self._jobs_with_sources(in_sources):
            yield job._replace(run_ids={task: run_ids[task] for task in job.slices})
        for task, runs in run_ids.items():
            if task.task_id not in self._shards:
                yield CheckJob((task,), run_ids={task: runs})

    def _jobs_with_sources(self, tasks: Iterable[TaskSlice]) -> Iterator[CheckJob]:
        """One job for the tasks of one shard of the plan."""
        by_shard: dict[Shard, list[TaskSlice]] = defaultdict(list)
        for task in tasks:
            by_shard[self._shards[task.task_id]].append(task)
        for shard, slices in by_shard.items():
            assert self._plan is not None
            yield CheckJob(tuple(slices), make_job(self._plan.rows, shard))


def slices_of(task_id: str, size: int, workers: int) -> Iterator[TaskSlice]:
    """One slice for a task of which there is little to read, else several. ``size``: bytes, about."""
    of = 1 if workers == 1 or size <= SLICE_BYTES else min(-(-size // SLICE_BYTES), 4 * workers)
    for number in range(of):
        yield TaskSlice(task_id, number, of)


def pack(tasks: Iterable[tuple[str, int]], workers: int) -> Iterator[tuple[TaskSlice, ...]]:
    """Pack small tasks together, and cut large ones. ``tasks``: ids, and about how many bytes each has."""
    batch: list[TaskSlice] = []
    total = 0
    for task_id, size in tasks:
        slices = list(slices_of(task_id, size, workers))
        if batch and (len(slices) > 1 or total + size > SHARD_BYTES or len(batch) == SHARD_TASKS):
            yield tuple(batch)
            batch, total = [], 0
        if len(slices) > 1:
            yield from ((task,) for task in slices)
        else:
            batch += slices
            total += size
    if batch:
        yield tuple(batch)


def _tasks_of(plan: Plan, shard: Shard) -> list[str]:
    rows = plan.rows["task_id"].slice(shard.start, shard.stop - shard.start)
    found: list[str] = rows.cast("string").unique().to_pylist()
    return found
