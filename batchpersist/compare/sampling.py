"""How many runs a comparison measures: all of them, or as many as the time allows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from ..wording import rough_duration
from .options import Variant

FIRST = 100
"""The smallest sample, if there are so many runs: the times of fewer say nothing."""

STEP = 4
"""The next trial has at most so many times as many runs: a guess at many more would be just that."""

SLOWEST = 30e6
"""Bytes a second at which a snapshot is read, merged and written at least. Where it is slower, the guess
is too low and the rounds end early."""


class Sample(NamedTuple):
    """The first ``rows`` of the runs, and why these are not all of them."""

    rows: int
    rounds: int
    """How often they are done, the warm-up included."""
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
        """Learn from a trial; the first one has a single row, each further one more than the last."""
        if rows == 1:
            self._start = seconds
        else:
            self._tried, self._work = rows, max(0.0, seconds - self._start)

    def seconds(self, rows: int) -> float:
        """The seconds that so many rows take at most, by the last trial.

        A trial does not show how much of its time was for bytes. As much as possible is assumed, since
        bytes grow with the square of the rows where each has a commit.
        """
        tried = self._written[self._tried - 1]
        for_bytes = min(self._work, tried / SLOWEST)
        for_rows = self._work - for_bytes
        return self._start + for_rows * rows / self._tried + for_bytes * self._written[rows - 1] / tried


class Trials(Protocol):
    """Measures batches, to learn what they cost."""

    @property
    def seconds_left(self) -> float:
        """For the trials and all rounds; negative once they have passed."""

    def try_variant(self, variant: Variant, rows: int) -> float:
        """Do so many rows in a variant's way; returns the seconds that took."""


def choose_sample(
    available: int,
    costs: Mapping[Variant, Cost],
    rounds: Sequence[int],
    trials: Trials,
    *,
    least: int = FIRST,
) -> Sample:
    """Choose the largest sample whose rounds fit into the time, by what trials cost.

    ``rounds``: how often the sample is to be done, the best number first; fewer rounds are preferred
    to fewer runs. ``least``: never fewer runs, if there are so many. Begins with few runs, and tries more
    of them only where all rounds of those would fit: so a hopelessly slow variant costs little time.
    """
    if available <= FIRST:
        return Sample(available, rounds[0], None)

    def learn(rows: int) -> None:
        for variant, cost in costs.items():
            cost.learn(rows, trials.try_variant(variant, rows))

    def one_round(rows: int) -> float:
        return sum(cost.seconds(rows) for cost in costs.values())

    learn(1)
    tried = min(least, available)
    while True:
        learn(tried)
        seconds = trials.seconds_left
        if available <= STEP * tried:
            for count in rounds:
                if count * one_round(available) <= seconds:
                    return Sample(available, count, None)
        share = seconds / rounds[-1]
        fitting = bisect_right(
            range(available), share, lo=min(least, available - 1), key=lambda rows: one_round(rows + 1)
        )
        if fitting < STEP * tried:
            return Sample(fitting, rounds[-1], _reason(costs, available, fitting))
        tried *= STEP


def _reason(costs: Mapping[Variant, Cost], available: int, fitting: int) -> str:
    slowest = max(costs, key=lambda variant: costs[variant].seconds(available))
    whole = rough_duration(costs[slowest].seconds(available))
    return f"{slowest.name} would take up to {whole} for all {available:,} runs in each round"


def likely_seconds(trials: Sequence[tuple[int, float]], written: Sequence[int], rows: int) -> float:
    """What so many rows would take, by the growth that trials ``(rows, seconds)`` show.

    Fitted are seconds for each row and for each byte of snapshot, none of them negative, bytes no slower
    than ``SLOWEST``; errors count relative to the trial, lest the longest alone decide.
    """
    fewest, start = min(trials)
    least = written[fewest - 1]
    points = [
        ((count - fewest) / seconds, (written[count - 1] - least) / seconds, 1 - start / seconds)
        for count, seconds in trials
        if count > fewest and seconds > start
    ]
    if not points:
        return start * rows / fewest
    xx, xy, yy, xz, yz = (
        sum(left * right for left, right in pairs)
        for pairs in (
            [(x, x) for x, _, _ in points],
            [(x, y) for x, y, _ in points],
            [(y, y) for _, y, _ in points],
            [(x, z) for x, _, z in points],
            [(y, z) for _, y, z in points],
        )
    )
    determinant = xx * yy - xy * xy
    each_byte = (xx * yz - xy * xz) / determinant if determinant > 1e-9 * xx * yy else 0.0
    each_byte = min(max(0.0, each_byte), 1 / SLOWEST, yz / yy)
    each_row = max(0.0, (xz - each_byte * xy) / xx)
    return start + each_row * (rows - fewest) + each_byte * (written[rows - 1] - least)
