"""How much faster one variant is than another, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from statistics import median
from typing import NamedTuple

CONFIDENCE = 0.95
RESAMPLES = 2_000


class Interval(NamedTuple):
    """A ratio, and between what it lies with 95% confidence."""

    estimate: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the two can be told apart: 1 is not among the likely ratios."""
        return not self.low <= 1 <= self.high


def speedup(base: Sequence[float], other: Sequence[float], *, seed: int = 0) -> Interval:
    """How many times as fast as ``base`` the ``other`` is; both are seconds, a round each.

    Each round gives one ratio, since what disturbed the machine in it disturbed both: the estimate is
    their median. The interval is the percentile bootstrap's: the medians of rounds drawn again,
    with replacement. The same seed gives the same one.
    """
    ratios = [before / after for before, after in zip(base, other, strict=True)]
    random = Random(seed)
    medians = sorted(median(random.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    beyond = (1 - CONFIDENCE) / 2
    low, high = math.floor(beyond * RESAMPLES), math.ceil((1 - beyond) * RESAMPLES) - 1
    return Interval(median(ratios), medians[low], medians[high])
