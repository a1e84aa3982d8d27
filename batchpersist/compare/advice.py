"""What the figures of a comparison mean, in a sentence; by rules, so that equal figures give equal advice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from .intervals import Interval, speedup

FEW_ROUNDS = 5
"""With fewer the interval cannot hold the true ratio 9 times in 10 (docs/compare.md)."""

SHORT_SECONDS = 0.5
"""A job that takes less is mostly start-up."""

_MOST = 0.4
"""The share of the workers' time from which on something is what limits them."""

Figures = Mapping[str, Any]
"""A variant as compare.json shows it."""


def advise(variants: Sequence[Figures], *, cpus: int, seed: int = 0) -> str:
    """Which variant to use, what more workers bring, and how much that can be relied upon."""
    first = variants[0]
    if not first["counts"]["selected"]:
        return "There are no runs in the sources, so there is nothing to compare."
    if len(variants) == 1:
        return f"Only {first['name']} was measured: there is nothing to compare it with."
    parts = [_choice(variants, seed), *_scaling(variants, cpus, seed), *_doubts(variants)]
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _ratio(base: Figures, other: Figures, seed: int) -> Interval:
    return speedup(base["walls"], other["walls"], seed=seed)


def _choice(variants: Sequence[Figures], seed: int) -> str:
    """The fastest; or the first, simplest one that cannot be told apart from it."""
    first = variants[0]
    fastest = max(variants, key=lambda variant: _ratio(first, variant, seed).estimate)
    equal = [variant for variant in variants if not _ratio(fastest, variant, seed).is_sure]
    chosen = min(equal, key=lambda variant: variant["workers"])
    if chosen is first:
        others = _names([variant for variant in equal if variant is not first])
        if not others:
            return f"{first['name']} is the fastest"
        return f"between {first['name']} and {others} there is no difference that this measurement can tell"
    ratio = _ratio(first, chosen, seed)
    return (
        f"use {chosen['name']}: {_times(ratio.estimate)} as fast as {first['name']} "
        f"({_number(ratio.low)} to {_number(ratio.high)})"
    )


def _scaling(variants: Sequence[Figures], cpus: int, seed: int) -> list[str]:
    """What the last step in the number of workers brings, in the last mode that was measured with several."""
    modes = [one["mode"] for one, other in pairwise(variants) if one["mode"] == other["mode"]]
    if not modes:
        return []
    scaled = sorted((v for v in variants if v["mode"] == modes[-1]), key=lambda v: v["workers"])
    fewer, more = scaled[-2:]
    ratio = _ratio(fewer, more, seed)
    name, count = f"{more['workers']} workers", fewer["workers"]
    if not ratio.is_sure:
        return [f"{name} and {count} show no difference that this measurement can tell{_limit(more, cpus)}"]
    if ratio.estimate < 1:
        return [f"{name} take {_times(1 / ratio.estimate)} as long as {count} here{_limit(more, cpus)}"]
    limit = _limit(more, cpus) if ratio.estimate < more["workers"] / count * 0.75 else ""
    return [f"{name} gain {ratio.estimate - 1:.0%} over {count} here{limit}"]


def _limit(variant: Figures, cpus: int) -> str:
    """What keeps it from being faster; empty where no rule says so."""
    phases, workers = variant["phases"], variant["workers"]
    # The two threads of a pair count twice: the shares are of what there is.
    available = max(sum(phases.values()), workers * variant["median"])
    if phases["sync"] > _MOST * available:
        return ": the disk is the limit"
    if phases["lock_wait"] > _MOST * available:
        return ": the task locks are the limit"
    if variant["cpu_seconds"] > 0.8 * min(cpus, workers) * variant["median"] and workers >= cpus:
        return ": the CPUs are the limit"
    if phases["pool"] > _MOST * available:
        return ": starting and feeding the workers takes most of their time"
    return ""


def _doubts(variants: Sequence[Figures]) -> list[str]:
    rounds, counts = len(variants[0]["walls"]), variants[0]["counts"]
    doubts = []
    if counts["unchanged"] == counts["selected"]:
        doubts.append(
            "all of these runs stand already, so nothing was written: "
            "with a new --out-dir and --runs-dir writing would be measured"
        )
    if rounds < FEW_ROUNDS:
        doubts.append(f"{rounds} round{'' if rounds == 1 else 's'} can hardly tell, --runs 5 or more would")
    if min(variant["median"] for variant in variants) < SHORT_SECONDS:
        doubts.append("with so little to do, starting up is most of it: more runs would say more")
    return doubts


def _names(variants: Sequence[Figures]) -> str:
    return " and ".join(variant["name"] for variant in variants)


def _times(ratio: float) -> str:
    return f"{_number(ratio)} times"


def _number(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"
