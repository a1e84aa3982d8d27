"""The pictures of a comparison: what each variant gains, what workers bring, where the time goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..compare.document import PHASES, Variant
from ..foreign_text import printable
from .figures import COLOURS, NARROW, figure

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

LANE = 38
"""Pixels of height for a variant."""

_HATCHES = {"lock_wait": "----", "sync": "////", "pool": "xxxx"}
_LINES = ("-", "--", ":", "-.")


def _lanes(axes: Axes, variants: Sequence[Variant]) -> None:
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.set_yticks(range(len(variants)), [printable(variant.name) for variant in variants])
    axes.tick_params(axis="y", labelcolor=COLOURS["ink"])


def draw_speedups(name: str, variants: Sequence[Variant]) -> Markup:
    """Bars with confidence intervals, where there are any."""
    ends = max(variant.speedup.high or variant.speedup.estimate for variant in variants)

    def draw(axes: Axes, width: int) -> None:
        for lane, variant in enumerate(variants):
            gain = variant.speedup
            axes.barh(lane, gain.estimate, height=0.56, color=COLOURS["accent"], linewidth=0, alpha=0.85)
            low, high = gain.low or gain.estimate, gain.high or gain.estimate
            if low < high:
                spread = [[max(gain.estimate - low, 0)], [max(high - gain.estimate, 0)]]
                axes.errorbar(
                    gain.estimate, lane, xerr=spread, color=COLOURS["ink"], capsize=5, linewidth=1.6
                )
            axes.annotate(
                f"{gain.estimate:.2f}×", (max(high, gain.estimate), lane), (10, 0),
                textcoords="offset points", va="center", weight="bold",
            )  # fmt: skip
        _lanes(axes, variants)
        axes.set_xlim(0, ends * (1.14 if width > NARROW else 1.32))
        axes.axvline(1, color=COLOURS["muted"], linewidth=1, linestyle=":")
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=8 if width > NARROW else 4)
        axes.xaxis.set_major_formatter(lambda value, _place: f"{value:g}×")

    gains = ", ".join(
        f"{printable(variant.name)} {variant.speedup.estimate:.2f} times" for variant in variants
    )
    label = (
        f"How many times as fast as {printable(variants[0].name)}, with 95% confidence intervals: {gains}."
    )
    return figure(
        f"{name}-speedup", draw, height=LANE * len(variants) + 40, margins=(104, 16, 4, 30), label=label
    )


def scaling_modes(variants: Sequence[Variant]) -> dict[str, list[Variant]]:
    """The modes that were measured with several numbers of workers, by those."""
    modes: dict[str, list[Variant]] = {}
    for variant in sorted(variants, key=lambda each: each.workers):
        modes.setdefault(variant.mode, []).append(variant)
    return {mode: measured for mode, measured in modes.items() if len(measured) > 1}


def draw_scaling(name: str, variants: Sequence[Variant]) -> Markup | None:
    """Lines over the number of workers beside the ideal one; None where only one number was measured."""
    modes = scaling_modes(variants)
    if not modes:
        return None
    most = max(variant.workers for measured in modes.values() for variant in measured)
    colours = ("accent", "manifest", "pair", "snapshot")

    def draw(axes: Axes, width: int) -> None:
        axes.plot([1, most], [1, most], color=COLOURS["sum"], linestyle=(0, (2, 3)), linewidth=2)
        axes.annotate(
            "ideal", (most, most), (0, 7), textcoords="offset points", ha="right", color=COLOURS["muted"]
        )
        for (mode, measured), colour, line in zip(modes.items(), colours, _LINES, strict=False):
            counts = [variant.workers for variant in measured]
            gains = [counts[0] * measured[0].median / variant.median for variant in measured]
            axes.plot(counts, gains, line, marker="o", markersize=7, color=COLOURS[colour], linewidth=2.2)
            axes.annotate(
                mode, (counts[-1], gains[-1]), (0, 10), textcoords="offset points", ha="right", weight="bold"
            )
        axes.set_xlim(0.9, most + 0.1)
        axes.set_ylim(0, most * 1.12)
        axes.set_xticks(sorted({variant.workers for measured in modes.values() for variant in measured}))
        axes.grid(axis="y")
        axes.locator_params(axis="y", nbins=5)
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:g}×")
        axes.xaxis.set_major_formatter(lambda value, _place: f"{value:g} worker{'s' if value > 1 else ''}")

    gains = "; ".join(
        f"{mode}: "
        + ", ".join(
            f"{each.workers} workers {measured[0].median / each.median:.2f} times" for each in measured
        )
        for mode, measured in modes.items()
    )
    label = f"Speed over the number of workers, against the fewest measured: {gains}."
    return figure(f"{name}-scaling", draw, height=280, margins=(58, 30, 14, 30), label=label)


def draw_phases(name: str, variants: Sequence[Variant]) -> Markup:
    """Stacked bars: each variant's seconds of work by phase, as shares."""

    def draw(axes: Axes, width: int) -> None:
        for lane, variant in enumerate(variants):
            whole = sum(variant.phases.values()) or 1.0
            done = 0.0
            for phase in PHASES:
                part = 100 * variant.phases.get(phase, 0.0) / whole
                axes.barh(
                    lane, part, left=done, height=0.6, color=COLOURS[phase], hatch=_HATCHES.get(phase),
                    edgecolor=COLOURS["surface"], linewidth=0.8,
                )  # fmt: skip
                done += part
        _lanes(axes, variants)
        axes.set_xlim(0, 100)
        axes.set_xticks([0, 25, 50, 75, 100] if width > NARROW else [0, 50, 100])
        axes.xaxis.set_major_formatter(lambda value, _place: f"{value:.0f}%")

    label = "Where each variant's time went, by phase, as shares. The table below has the seconds."
    return figure(
        f"{name}-phases", draw, height=LANE * len(variants) + 38, margins=(104, 22, 4, 30), label=label
    )
