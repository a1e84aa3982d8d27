"""compare.json: what a comparison measured and proved (docs/compare.md, compare.schema.json)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, median_low
from typing import Any

from ..figures.timing import seconds
from .intervals import speedup
from .measuring import Measurement
from .variants import Variant

SCHEMA_VERSION = 1


def variant_figures(measured: Mapping[Variant, Sequence[Measurement]], seed: int) -> list[dict[str, Any]]:
    """The figures of each variant over all rounds; the first one is what the others are compared with."""
    base = [each.wall for each in next(iter(measured.values()))]
    return [_figures(variant, rounds, base, seed) for variant, rounds in measured.items()]


def _figures(
    variant: Variant, rounds: Sequence[Measurement], base: Sequence[float], seed: int
) -> dict[str, Any]:
    walls = [each.wall for each in rounds]
    # One round as it was, so that its figures belong together: that of the (lower) median.
    typical = rounds[walls.index(median_low(walls))]
    ratio = speedup(base, walls, seed=seed)
    return {
        "name": variant.name,
        "mode": variant.mode,
        "workers": variant.workers,
        "walls": [seconds(wall) for wall in walls],
        "median": seconds(median(walls)),
        "min": seconds(min(walls)),
        "max": seconds(max(walls)),
        "runs_per_second": round(typical.counts["selected"] / median(walls), 1),
        "speedup": {name: round(value, 4) for name, value in ratio._asdict().items()},
        "cpu_seconds": seconds(typical.cpu_seconds),
        "bytes_written": typical.bytes["snapshots"] + typical.bytes["manifests"],
        "syncs": typical.timing["syncs"],
        "phases": typical.phases(variant.workers),
        "pair_seconds": typical.timing["pair_seconds"],
        "sum_if_sequential": typical.timing["sum_if_sequential"],
        "counts": typical.counts,
    }
