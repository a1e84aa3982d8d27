"""The ways of doing the job that are compared, and the order in which they take turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

Mode = Literal["sequential", "paired", "parallel", "grouped"]
"""In the order in which they came about; docs/compare.md says what each one is."""

POOLED: frozenset[Mode] = frozenset({"parallel", "grouped"})


class Variant(NamedTuple):
    """One way of doing the job."""

    mode: Mode
    workers: int

    @property
    def name(self) -> str:
        return f"{self.mode}-{self.workers}" if self.mode in POOLED else self.mode

    @property
    def commit(self) -> Literal["task", "run"]:
        return "task" if self.mode == "grouped" else "run"

    @property
    def pair(self) -> Literal["concurrent", "sequential"]:
        return "sequential" if self.mode == "sequential" else "concurrent"


def variants_of(modes: Sequence[Mode], workers: Sequence[int]) -> list[Variant]:
    """Each once, in the order given; the first one is what the others are compared with.

    ``parallel`` with one worker does what ``paired`` does, and is left out where that is there.
    """
    variants = [Variant(mode, count) for mode in modes for count in (workers if mode in POOLED else (1,))]
    if "paired" in modes:
        variants = [variant for variant in variants if variant != ("parallel", 1)]
    return list(dict.fromkeys(variants))


def turns(variants: Sequence[Variant], rounds: int) -> Iterator[Sequence[Variant]]:
    """The variants of each round.

    All of them in every round, so that a machine which slows down slows them all alike; and each
    round begins with the next one, so that none always comes after the same one.
    """
    for number in range(rounds):
        first = number % len(variants)
        yield [*variants[first:], *variants[:first]]
