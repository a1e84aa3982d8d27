"""How many runs are compared: all of them, or as many as the time allows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from .variants import Variant

FIRST = 100
"""Runs that are always compared, if there are so many; fewer say nothing."""

STEP = 4
"""How many times as many runs are tried next; guessing at many more than were tried would be just that."""


SLOWEST = 30e6
"""Bytes a second at which a snapshot is read, merged and written at least. Where it is less, the guess
is too low, and the rounds end early."""


class Sample(NamedTuple):
    """The first so many of the runs, and why not all of them."""

    rows: int
    reason: str | None


class Cost:
    """What a batch takes: to start, for each row, and for each byte of snapshot that it writes."""

    def __init__(self, written: Sequence[int]) -> None:
        """``written``: bytes of snapshots that 1, 2, 3 ... rows write."""
        self._written = written
        self._start = 0.0
        self._tried = 1
        self._work = 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """Of a trial; the first one is of a single row, each further one of more than the last."""
        if rows == 1:
            self._start = seconds
        else:
            self._tried, self._work = rows, max(0.0, seconds - self._start)

    def seconds(self, rows: int) -> float:
        """Of a batch of so many rows, at most, as far as the last trial can tell.

        How much of its time was for bytes it cannot tell; as much as that may be is taken for it, since
        bytes are what grows with the square of the rows where each has a commit.
        """
        tried = self._written[self._tried - 1]
        for_bytes = min(self._work, tried / SLOWEST)
        for_rows = self._work - for_bytes
        return self._start + for_rows * rows / self._tried + for_bytes * self._written[rows - 1] / tried


def choose_sample(
    available: int,
    costs: Mapping[Variant, Cost],
    rounds: int,
    *,
    trial: Callable[[Variant, int], float],
    left: Callable[[], float],
) -> Sample:
    """The largest sample of which all rounds fit into the time, as far as trials can tell.

    ``trial``: does so many runs in a variant's way, and returns the seconds that took. ``left``: the
    seconds that there are still. Begins with few runs, and tries more of them only where all rounds of
    those would fit; so a hopelessly slow variant is found out at little cost.
    """
    if available <= FIRST:
        return Sample(available, None)

    def learn(rows: int) -> None:
        for variant, cost in costs.items():
            cost.learn(rows, trial(variant, rows))

    learn(1)
    tried = FIRST
    while True:
        learn(tried)
        fitting = bisect_right(
            range(available),
            left(),
            lo=FIRST,
            key=lambda rows: rounds * sum(cost.seconds(rows + 1) for cost in costs.values()),
        )
        if fitting >= available and available <= STEP * tried:
            return Sample(available, None)
        if fitting < STEP * tried:
            return Sample(fitting, _reason(costs, tried, available, fitting))
        tried *= STEP


def _reason(costs: Mapping[Variant, Cost], tried: int, available: int, fitting: int) -> str:
    slowest = max(costs, key=lambda variant: costs[variant].seconds(available))
    whole = costs[slowest].seconds(available)
    return (
        f"judging by trials of up to {tried:,} runs, {slowest.name} would take up to {duration(whole)} "
        f"for all {available:,} of them in each round; so only the first {fitting:,} are compared"
    )


def duration(seconds: float) -> str:
    """In the unit that a person would choose."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 10 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
