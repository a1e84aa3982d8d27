"""A synthetic source of any size: realistic runs, the same bytes for the same seed everywhere."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import accumulate
from random import Random

from ..moments import utc_text
from .samples import RUN_ID, sample_members

TEMPLATES = 64
"""Different bodies; runs share them, so that a million runs are made in seconds."""

_FIRST_RUN = datetime(2025, 1, 1, tzinfo=timezone.utc)
_STEP = timedelta(seconds=7)
_EVENT_SHARE = 0.03
_LATE_SHARE = 0.05
"""Of runs that completed up to six hours before those around them."""


def generate(
    runs: int, tasks: int, *, skew: float, invalid: float, seed: int, size: int = 2500
) -> Iterator[bytes]:
    """Yield ``runs`` lines of JSON, newline included: completed runs as docs/formats.md has them.

    ``tasks``: how many tasks they belong to. ``skew``: Zipf's exponent: the k-th task gets a
    share of runs in proportion to 1/k**skew; 0 makes all alike, at 3 the first has most of
    the runs. ``invalid``: the share (0 to 1) of lines that are broken in one of several ways.
    ``size``: the mean of bytes a run, about. A few runs come wrapped as events.
    """
    # Of all that Python's generator offers, only random() is promised never to change.
    random = Random(seed)
    templates = _templates(random, size)
    shares = list(accumulate((task + 1) ** -skew for task in range(tasks)))
    for number in range(runs):
        task = bisect(shares, random.random() * shares[-1], hi=tasks - 1)
        run_id = f"run-{number + 1:07d}-{int(random.random() * 0x1000000):06x}"
        head = _head(f"task-{task + 1:05d}", run_id, _timestamp(number, random))
        members = run_id.encode().join(templates[int(random.random() * TEMPLATES)])
        if random.random() < invalid:
            yield _broken(head, members, random) + b"\n"
        elif random.random() < _EVENT_SHARE:
            yield b'{"type":"run:completed","payload":%b%b}\n' % (head, members)
        else:
            yield head + members + b"\n"


def _templates(random: Random, size: int) -> list[list[bytes]]:
    """Bodies cut where the run's id belongs; sizes from half to one and a half of ``size``."""
    head = len(_head("task-00001", "run-0000001-000000", _timestamp(0, random)))
    return [
        sample_members(random, int(size * (0.5 + (index + 0.5) / TEMPLATES)) - head).split(RUN_ID)
        for index in range(TEMPLATES)
    ]


def _head(task_id: str, run_id: str, timestamp: str) -> bytes:
    return f'{{"taskId":"{task_id}","runId":"{run_id}","timestamp":"{timestamp}",'.encode()


def _timestamp(number: int, random: Random) -> str:
    """Mostly ascending, as JavaScript's ``toISOString`` writes it."""
    late = timedelta(hours=6) * random.random() if random.random() < _LATE_SHARE else timedelta()
    moment = _FIRST_RUN + _STEP * (number + random.random()) - late
    return utc_text(moment)


def _broken(head: bytes, members: bytes, random: Random) -> bytes:
    """A line that is no completed run, in one of the ways in which real ones are not."""
    run = head + members
    ways = (
        run[: int(len(run) * (0.1 + 0.8 * random.random()))],  # the writer died
        head.replace(b'"timestamp"', b'"finished"') + members,
        head.replace(b'"timestamp":"', b'"timestamp":17,"at":"') + members,
        head.replace(b'"taskId":"', b'"taskId":"../') + members,
        head.replace(b'"runId":"', b'"runId":"a:b/') + members,
        head + b'"score":NaN,' + members,
        head + b'"note":"\xff\xfe",' + members,
        b"[" + run + b"]",
        b"Error: connect ECONNREFUSED 127.0.0.1:443",
    )
    return ways[int(random.random() * len(ways))]
