"""All that an audit is to look at, as jobs: the tasks of the sources, and the others of the two roots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ..models import Shard
from ..planning.job import make_job
from ..planning.plan import Plan
from .check_task import Share, TaskLook
from .inventory import Rooms
from .tasks import LookJob, pack


class Work:
    """Each task is in one job; one of very many runs in several, unless it is in a source."""

    def __init__(self, rooms: Rooms, plan: Plan | None, workers: int) -> None:
        """``plan``: of the sources; no task is in two of its shards."""
        self._rooms = rooms
        self._plan = plan
        self._workers = workers
        self._shards = (
            {task_id: shard for shard in plan.shards for task_id in _tasks(plan, shard)} if plan else {}
        )
        """By task id, where the plan has it."""

    def jobs(self) -> Iterator[LookJob]:
        """For the first look."""
        yield from self._of_sources(map(Share, self._shards))
        others = (task for task in self._rooms.tasks.items() if task[0] not in self._shards)
        yield from map(LookJob, pack(others, self._workers))

    def again(self, looks: Sequence[TaskLook]) -> Iterator[LookJob]:
        """For another look, at the runs alone of which the first one told something."""
        only = {
            look.share: {finding.run_id for finding in look.findings} | look.marked.keys() for look in looks
        }
        for job in self._of_sources(share for share in only if share.task_id in self._shards):
            yield job._replace(only={share: only[share] for share in job.shares})
        for share, run_ids in only.items():
            if share.task_id not in self._shards:
                yield LookJob((share,), only={share: run_ids})

    def _of_sources(self, shares: Iterator[Share]) -> Iterator[LookJob]:
        """One job for those that are in one shard of the plan."""
        by_shard: dict[Shard, list[Share]] = defaultdict(list)
        for share in shares:
            by_shard[self._shards[share.task_id]].append(share)
        for shard, of_shard in by_shard.items():
            assert self._plan is not None
            yield LookJob(tuple(of_shard), make_job(self._plan.rows, shard))


def _tasks(plan: Plan, shard: Shard) -> list[str]:
    rows = plan.rows["task_id"].slice(shard.start, shard.stop - shard.start)
    found: list[str] = rows.cast("string").unique().to_pylist()
    return found
