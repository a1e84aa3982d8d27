"""How much faster one variant is than another, how sure that is, and what follows from it.

Fixed rules, so that equal figures give equal answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from statistics import median
from typing import Literal, NamedTuple

from .document import Answer, Recommendation, Variant

CONFIDENCE = 0.95
RESAMPLES = 2_000

MIN_ROUNDS = 3
"""With fewer there is no interval: one round does not predict the other (docs/compare.md)."""

FEW_ROUNDS = 5
"""With fewer the interval cannot hold the true ratio 9 times in 10 (docs/compare.md)."""

SHORT_SECONDS = 0.5
"""A job that takes less is mostly start-up."""

_LIMITING_SHARE = 0.4
"""The share of the workers' time from which on something counts as their limit."""


class Interval(NamedTuple):
    """A ratio, and its bounds with 95% confidence; None where there were too few rounds for any."""

    estimate: float
    low: float | None
    high: float | None

    @property
    def is_sure(self) -> bool:
        """Whether one of the two is surely faster: 1 is not among the likely ratios."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{_number(self.estimate)} times"
        return f"{_number(self.estimate)} times ({_number(self.low)} to {_number(self.high)})"


def estimate_speedup(base: Sequence[float], other: Sequence[float], *, seed: int = 0) -> Interval:
    """How many times as fast as ``base`` the ``other`` is; both are seconds, one for each round.

    Each round gives one ratio, since what disturbed the machine in it disturbed both: the estimate is
    their median. The interval is the percentile bootstrap's: the medians of rounds drawn again,
    with replacement. The same seed gives the same one.
    """
    ratios = [before / after for before, after in zip(base, other, strict=True)]
    if len(ratios) < MIN_ROUNDS:
        return Interval(median(ratios), None, None)
    random = Random(seed)
    medians = sorted(median(random.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    beyond = (1 - CONFIDENCE) / 2
    low, high = math.floor(beyond * RESAMPLES), math.ceil((1 - beyond) * RESAMPLES) - 1
    return Interval(median(ratios), medians[low], medians[high])


def find_fastest(variants: Sequence[Variant], seed: int = 0) -> list[Variant]:
    """The fastest variant and all that are not surely slower, the fewest workers first."""
    first = min(variants, key=lambda variant: variant.median)
    equal = [each for each in variants if each is first or not _ratio(first, each, seed).is_sure]
    return sorted(equal, key=lambda variant: variant.workers)


def answer_question(
    question: Literal["mode", "workers"], variants: Sequence[Variant], cpus: int, *, seed: int = 0
) -> str:
    """What the figures say, and how far that can be relied on, in a sentence."""
    if len(variants) == 1:
        return f"Only {variants[0].name} was measured: there is nothing to compare it with."
    parts = [_workers_answer(variants, cpus, seed) if question == "workers" else _mode_answer(variants, seed)]
    sentence = "; ".join([*parts, *_doubts(variants)])
    return f"{sentence[0].upper()}{sentence[1:]}."


def recommend(
    answers: Sequence[Answer], runs: int, one_by_one: float | None, *, seed: int = 0
) -> Recommendation:
    """The command for all ``runs``, with no more options than the figures bear."""
    asked = {answer.question: answer for answer in answers}
    mode, workers = asked.get("mode"), asked.get("workers")
    words, seconds, is_sure = ["batchpersist run SOURCES"], None, False
    chosen = None
    if mode is not None:
        chosen, *others = find_fastest(mode.variants, seed)
        is_sure = not others
        seconds = chosen.median if mode.sample.reason is None else None
    if chosen is not None and is_sure and chosen.mode != "grouped":
        words += _OPTIONS[chosen.mode]
    elif workers is not None:
        chosen, *others = find_fastest(workers.variants, seed)
        seconds = chosen.median * runs / max(1, workers.sample.runs)
        is_sure = not others and (mode is None or is_sure)
        if workers.rounds.measured >= MIN_ROUNDS:
            words.append(f"-j {chosen.workers}")
    return Recommendation(
        command=" ".join(words), seconds=seconds, one_by_one_seconds=one_by_one, is_sure=is_sure
    )


_OPTIONS = {
    "sequential": ["--commit run", "--pair sequential"],
    "paired": ["--commit run"],
    "parallel": ["--commit run"],
}
"""The options with which `batchpersist run` works in another mode than its own."""


def _ratio(base: Variant, other: Variant, seed: int) -> Interval:
    return estimate_speedup(base.walls, other.walls, seed=seed)


def _mode_answer(variants: Sequence[Variant], seed: int) -> str:
    first = variants[0]
    best, *others = find_fastest(variants, seed)
    if others and len(first.walls) >= MIN_ROUNDS:
        names = " and ".join(variant.name for variant in (best, *others))
        return f"between {names} there is no difference that can be measured"
    best = min(variants, key=lambda variant: variant.median)
    if best is first:
        return f"{first.name} is the fastest"
    return f"{best.name} is {_ratio(first, best, seed)} as fast as {first.name}"


def _workers_answer(variants: Sequence[Variant], cpus: int, seed: int) -> str:
    """What the last step in the number of workers brings, and what limits it."""
    fewer, more = sorted(variants, key=lambda variant: variant.workers)[-2:]
    ratio = _ratio(fewer, more, seed)
    name = f"{more.workers} workers"
    if ratio.low is not None and not ratio.is_sure:
        return f"{name} and {fewer.workers} show no difference that can be measured{_limit(more, cpus)}"
    if ratio.estimate < 1:
        return (
            f"{name} take {_number(1 / ratio.estimate)} times as long as {fewer.workers}{_limit(more, cpus)}"
        )
    limit = _limit(more, cpus) if ratio.estimate < more.workers / fewer.workers * 0.75 else ""
    return f"{name} are {ratio} as fast as {fewer.workers}{limit}"


def _limit(variant: Variant, cpus: int) -> str:
    """What keeps it from being faster; empty where no rule says so."""
    phases, workers = variant.phases, variant.workers
    # The two threads of a pair count twice: the shares are of what there is.
    available = max(sum(phases.values()), workers * variant.median)
    if phases["sync"] > _LIMITING_SHARE * available:
        return ": the disk is the limit"
    if phases["lock_wait"] > _LIMITING_SHARE * available:
        return ": the task locks are the limit"
    if variant.cpu_seconds > 0.8 * min(cpus, workers) * variant.median and workers >= cpus:
        return ": the CPUs are the limit"
    if phases["pool"] > _LIMITING_SHARE * available:
        return ": starting and feeding the workers takes most of their time"
    return ""


def _doubts(variants: Sequence[Variant]) -> list[str]:
    rounds, counts = len(variants[0].walls), variants[0].counts
    doubts = []
    if counts.unchanged == counts.selected:
        doubts.append(
            "all of these runs are persisted already, so nothing was written: "
            "--without-history measures the writing"
        )
    if rounds < MIN_ROUNDS:
        few = "1 round is" if rounds == 1 else f"{rounds} rounds are"
        doubts.append(f"{few} too few to rely on: allow more with --max-time")
    elif rounds < FEW_ROUNDS:
        doubts.append(f"{rounds} rounds can hardly tell, {FEW_ROUNDS} or more can")
    if min(variant.median for variant in variants) < SHORT_SECONDS:
        doubts.append("with so little to do, starting up is most of it")
    return doubts


def _number(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"
