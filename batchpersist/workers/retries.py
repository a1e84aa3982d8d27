"""Which failed runs a batch tries again at its end, and how long it waits before."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING

from ..context import RunContext
from ..errors import TaskStateLockError
from ..models import Failure, Shard, ShardOutcome, Work
from ..options import RetryPolicy
from ..plan import Plan
from ..sources import SourceFile
from ..storage.fsync import nearest_folder

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

PASSING = ("EAGAIN", "EINTR", "EIO", "ESTALE", "ETIMEDOUT")
"""Errors of the system that another attempt may not meet."""

FULL = ("ENOSPC", "EDQUOT")
"""Errors that pass when somebody makes room: retried only where the options say how long to wait for it."""

_POLL_SECONDS = 0.1


def is_passing(failure: Failure, policy: RetryPolicy) -> bool:
    """Whether another attempt may succeed."""
    names = PASSING + FULL if policy.wait_for_space_seconds else PASSING
    return failure.is_a(TaskStateLockError) or failure.errno_name in names


def delay_before(number: int, policy: RetryPolicy) -> float:
    """Seconds to wait before a round (the first is 0): random, up to a bound that doubles each time."""
    return random.uniform(0.0, min(policy.max_delay_seconds, policy.first_delay_seconds * 2**number))


@dataclass
class Postponed:
    """Rows of a shard's outcome that are to be tried again."""

    outcome: ShardOutcome
    rows: frozenset[int] = field(default_factory=frozenset)
    """Counted from the shard's start."""


class Retries:
    """The runs that a batch tries again, in rounds at its end."""

    def __init__(self, policy: RetryPolicy, plan: Plan, roots: Sequence[str], spool: str) -> None:
        """``roots``: the folders whose disks may be full; ``spool``: the folder for copies of sources."""
        self._policy = policy
        self._plan = plan
        self._roots = roots
        self._spool = spool
        self.rounds = 0
        """Rounds so far, the current one included."""
        self.left: list[Postponed] = []
        """What the next round tries again; at the end, what was not tried because the batch had to stop."""
        self.retried = 0
        """Runs tried again, each round counted."""
        self._tried: list[Postponed] = []
        """What the current round tries again."""
        self._due: set[tuple[Work, int]] = set()
        """Its rows, as the plan counts them, that have not been tried yet."""

    def postpone(self, outcome: ShardOutcome) -> frozenset[int]:
        """Take an outcome; returns its rows that will be tried again, counted from the shard's start."""
        shard = outcome.shard
        tried = self._due & {(shard.work, row) for row in range(shard.start, shard.stop)}
        self._due -= tried
        self.retried += len(tried)
        if self.rounds == self._policy.rounds:
            return frozenset()
        item = Postponed(outcome, self._passing(outcome))
        if item.rows:
            _log.debug("shard %d: %d runs are tried again at the end", shard.number, len(item.rows))
            self.left.append(item)
        return item.rows

    def next_round(self, context: RunContext) -> list[Shard]:
        """Wait, and return the shards to try again; none where ``context`` is stopping."""
        self.left += _still_due(self._due, self._tried)
        self._due, self._tried = set(), []
        if not self.left or self.rounds == self._policy.rounds or not self._wait(context):
            return []
        self._tried, self.left = self.left, []
        self._due = {row for item in self._tried for row in _due(item)}
        _log.debug("round %d of retries: %d rows", self.rounds + 1, len(self._due))
        self.rounds += 1
        return self._make_shards(self._tried)

    def _passing(self, outcome: ShardOutcome) -> frozenset[int]:
        """Rows all of whose failures may pass. A failed sync is final: nobody knows what it lost."""
        if outcome.sync_failed or outcome.defect:
            return frozenset()
        failed = [outcome.snapshot_failures, outcome.manifest_failures]
        return frozenset(
            row
            for row in set().union(*failed)
            if all(is_passing(side[row], self._policy) for side in failed if row in side)
        )

    def _make_shards(self, postponed: Iterable[Postponed]) -> list[Shard]:
        """Shards for all postponed rows; no two of them commit the same task."""
        found: dict[tuple[bool, int], Shard] = {}
        for shard in sorted(shard for item in postponed for shard in self._shards(item)):
            writes_manifests = shard.work is Work.MANIFEST
            key = (writes_manifests, shard.start if writes_manifests else shard.stop)
            if key not in found or shard.start < found[key].start:
                found[key] = shard
        return list(found.values())

    def _shards(self, item: Postponed) -> Iterator[Shard]:
        """A shard for each task, from its first postponed row on; of one side where the shard was.

        A shard with a snapshot goes on to the task's end: a run that is recorded again moves behind those
        that came later, so these have to be recorded after it.
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

    def _wait(self, context: RunContext) -> bool:
        """Wait before a round; False where the batch is stopping."""
        pause = time.monotonic() + delay_before(self.rounds, self._policy)
        full = self._policy.wait_for_space_seconds and any(map(self._lacks_room, self.left))
        deadline = time.monotonic() + self._policy.wait_for_space_seconds
        needed = self._needed() if full else 0
        if full:
            _log.debug("waiting for room on a full disk: twice %d bytes", needed)
        while time.monotonic() < pause or (
            full and time.monotonic() < deadline and not self._has_room(needed)
        ):
            if context.is_stopping:
                return False
            time.sleep(_POLL_SECONDS)
        return not context.is_stopping

    def _needed(self) -> int:
        """Bytes that the next round may write, by the sizes in the plan."""
        rows = (item.outcome.shard.start + row for item in self.left for row in item.rows)
        return sum(item.outcome.shard.size for item in self.left) + missing_copies(
            self._plan.rows, self._spool, rows
        )

    def _lacks_room(self, item: Postponed) -> bool:
        failures = [*item.outcome.snapshot_failures.values(), *item.outcome.manifest_failures.values()]
        return any(failure.errno_name in FULL for failure in failures)

    def _has_room(self, needed: int) -> bool:
        """Whether twice that many bytes are free. True where the system does not say: the round will show."""
        with suppress(OSError):
            found = [os.statvfs(nearest_folder(root)) for root in self._roots]  # a root may not exist yet
            return all(status.f_bavail * status.f_frsize > 2 * needed for status in found)
        return True


def _due(item: Postponed) -> Iterator[tuple[Work, int]]:
    """The rows of an item, as the plan counts them."""
    shard = item.outcome.shard
    return ((shard.work, shard.start + row) for row in item.rows)


def _still_due(due: Collection[tuple[Work, int]], postponed: Iterable[Postponed]) -> Iterator[Postponed]:
    """What has not been tried again, because the batch had to stop."""
    for item in postponed:
        work, first = item.outcome.shard.work, item.outcome.shard.start
        rows = frozenset(row for row in item.rows if (work, first + row) in due)
        if rows:
            yield replace(item, rows=rows)


def missing_copies(rows: pa.Table, spool: str, numbers: Iterable[int]) -> int:
    """Bytes of the copies that are still to be made for runs of a plan (``numbers`` of its ``rows``)."""
    picked = rows.select(["origin", "file", "offset", "length"]).take(list(numbers))
    ends: dict[str, int] = {}
    for origin, below, offset, length in zip(*(column.to_pylist() for column in picked.columns), strict=True):
        file = SourceFile.decode(origin, below)
        if file.format.is_spooled:
            path = file.data_path(spool)
            ends[path] = max(ends.get(path, 0), offset + length)
    return sum(end for path, end in ends.items() if not os.path.exists(path))
