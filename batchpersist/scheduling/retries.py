"""Trying again, at the end of a batch, what failed for a reason that may have passed by then."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby

from ..context import RunContext
from ..errors import TaskStateLockError
from ..files.durability import nearest_folder
from ..models import Failure, Shard, ShardOutcome, Work
from ..options import RetryPolicy
from ..planning.plan import Plan

PASSING = ("EAGAIN", "EINTR", "EIO", "ESTALE", "ETIMEDOUT")
"""Errors of the system that another attempt may not meet again."""

FULL = ("ENOSPC", "EDQUOT")
"""They pass when somebody makes room: waited for only where that is asked for."""

_POLL_SECONDS = 0.1


def is_passing(failure: Failure, policy: RetryPolicy) -> bool:
    """Whether another attempt may succeed."""
    names = PASSING + FULL if policy.wait_for_space_seconds else PASSING
    return failure.is_a(TaskStateLockError) or failure.errno_name in names


def delay_before(number: int, policy: RetryPolicy) -> float:
    """Seconds to wait before a round, counted from 0: drawn at random, doubled each time."""
    return random.uniform(0.0, min(policy.max_delay_seconds, policy.first_delay_seconds * 2**number))


@dataclass
class Postponed:
    """Rows of a settled shard that are to be tried again."""

    outcome: ShardOutcome
    rows: frozenset[int] = field(default_factory=frozenset)
    """Counted from the shard's start."""


class Retrying:
    """Settles shards, and then some of their rows again; iterate over what settles.

    Each outcome comes with those of its rows that will come again, by a later outcome. What is
    ``left`` at the end was to be tried again, but the batch had to stop.
    """

    def __init__(
        self,
        settle: Callable[[Sequence[Shard]], Iterable[ShardOutcome]],
        policy: RetryPolicy,
        roots: Sequence[str],
        plan: Plan,
        context: RunContext,
        copies: Callable[[Iterable[int]], int] = lambda _rows: 0,
    ) -> None:
        """``settle``: what shards of the ``plan`` become; ``roots``: where room may be wanting.

        ``copies``: bytes of the copies that rows of the plan need, and that have yet to be made.
        """
        self._copies = copies
        self._settle = settle
        self._policy = policy
        self._roots = roots
        self._plan = plan
        self._context = context
        self.left: list[Postponed] = []
        self.retried = 0
        """Runs tried again, each round counted."""

    def run(self, shards: Sequence[Shard]) -> Iterator[Postponed]:
        yield from self._round(shards, last=self._policy.rounds == 0)
        for number in range(self._policy.rounds):
            if not self.left or not self._wait(number):
                return
            postponed, self.left = self.left, []
            due = {row for item in postponed for row in _due(item)}
            tried = len(due)
            for item in self._round(self._again(postponed), last=number + 1 == self._policy.rounds):
                _, work, start, stop, _ = item.outcome.shard
                due.difference_update((work, row) for row in range(start, stop))
                yield item
            self.retried += tried - len(due)
            self.left += _still(due, postponed)

    def _round(self, shards: Sequence[Shard], *, last: bool) -> Iterator[Postponed]:
        for outcome in self._settle(shards):
            item = Postponed(outcome, frozenset() if last else self._passing(outcome))
            if item.rows:
                self.left.append(item)
            yield item

    def _passing(self, outcome: ShardOutcome) -> frozenset[int]:
        """Rows all of whose failures may pass. A sync that failed is final: nothing shows what it lost."""
        if outcome.sync_failed or outcome.defect:
            return frozenset()
        failed = [outcome.snapshot_failures, outcome.manifest_failures]
        return frozenset(
            row
            for row in set().union(*failed)
            if all(is_passing(side[row], self._policy) for side in failed if row in side)
        )

    def _again(self, postponed: Iterable[Postponed]) -> list[Shard]:
        """Shards for all that is postponed, none of which commit the same task."""
        found: dict[tuple[bool, int], Shard] = {}
        for shard in sorted(shard for item in postponed for shard in self._shards(item)):
            writes_manifests = shard.work is Work.MANIFEST
            key = (writes_manifests, shard.start if writes_manifests else shard.stop)
            if key not in found or shard.start < found[key].start:
                found[key] = shard
        return list(found.values())

    def _shards(self, item: Postponed) -> Iterator[Shard]:
        """A shard a task, from the first of the rows; one side alone where it was one before.

        To the task's end, where there is a snapshot: what is recorded once more takes the place of what
        came later, which has to be recorded after it.
        """
        shard = item.outcome.shard
        rows = sorted(shard.start + row for row in item.rows)
        for _, of_task in groupby(rows, key=self._plan.task_of):
            span = list(of_task)
            start, stop = span[0], span[-1] + 1
            if shard.work is Work.SNAPSHOT:
                start, stop = shard.start, shard.stop
            if shard.work is not Work.MANIFEST:
                stop = self._plan.task_stop(stop - 1)
            size = shard.size * (stop - start) // (shard.stop - shard.start)
            yield shard._replace(start=start, stop=stop, size=size)

    def _wait(self, number: int) -> bool:
        """Before a round; False where the batch is to stop."""
        pause = time.monotonic() + delay_before(number, self._policy)
        full = self._policy.wait_for_space_seconds and any(map(self._lacks_room, self.left))
        deadline = time.monotonic() + self._policy.wait_for_space_seconds
        rows = (item.outcome.shard.start + row for item in self.left for row in item.rows)
        needed = sum(item.outcome.shard.size for item in self.left) + (self._copies(rows) if full else 0)
        while time.monotonic() < pause or (full and time.monotonic() < deadline and not self._room(needed)):
            if self._context.is_stopping:
                return False
            time.sleep(_POLL_SECONDS)
        return not self._context.is_stopping

    def _lacks_room(self, item: Postponed) -> bool:
        failures = [*item.outcome.snapshot_failures.values(), *item.outcome.manifest_failures.values()]
        return any(failure.errno_name in FULL for failure in failures)

    def _room(self, needed: int) -> bool:
        """Where that cannot be told, another attempt tells."""
        with suppress(OSError):
            found = [os.statvfs(nearest_folder(root)) for root in self._roots]  # the out-dir may be missing
            return all(status.f_bavail * status.f_frsize > 2 * needed for status in found)
        return True


def _due(item: Postponed) -> Iterator[tuple[Work, int]]:
    """Its rows, counted as the plan does."""
    shard = item.outcome.shard
    return ((shard.work, shard.start + row) for row in item.rows)


def _still(due: Collection[tuple[Work, int]], postponed: Iterable[Postponed]) -> Iterator[Postponed]:
    """What is still to be tried again, since the batch had to stop."""
    for item in postponed:
        work, first = item.outcome.shard.work, item.outcome.shard.start
        rows = frozenset(row for row in item.rows if (work, first + row) in due)
        if rows:
            yield replace(item, rows=rows)
