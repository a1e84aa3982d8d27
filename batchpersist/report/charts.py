"""The charts of a batch and of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..compare.document import PHASES, Variant
from ..foreign_text import printable
from .document import Latency, Throughput, Workers
from .svg import COLOURS, NARROW, figure
from .wording import count, duration

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

LANE = 30
"""Pixels of height for a worker."""

SERIES = {"sum": ":", "snapshot": "-", "manifest": "-", "pair": "--"}
"""Those of a distribution, each with its line: to be told apart without colours as well."""


def draw_throughput(course: Throughput) -> Markup:
    rates = [runs / course.bin_seconds for runs in course.runs]
    seconds = course.bin_seconds * len(rates)
    scale, unit = _unit(seconds)
    moments = [place * course.bin_seconds / scale for place in range(len(rates) + 1)]

    def draw(axes: Axes, width: int) -> None:
        axes.stairs(rates, moments, fill=True, color=COLOURS["accent"], alpha=0.22, linewidth=0)
        axes.stairs(rates, moments, color=COLOURS["accent"], linewidth=1.8, baseline=None)
        axes.set_xlim(0, moments[-1])
        axes.set_ylim(0, max(rates) * 1.08 or 1)
        axes.grid(axis="y")
        _elapsed(axes, width, unit)
        axes.locator_params(axis="y", nbins=5)
        axes.yaxis.set_major_formatter(lambda value, _place: count(value) if value >= 10 else f"{value:g}")

    label = (
        f"Runs settled a second, over {duration(seconds)}: at most {count(max(rates))}, "
        f"{count(sum(course.runs) / seconds)} on the average."
    )
    return figure("throughput", draw, height=240, margins=(58, 22, 12, 30), label=label)


def draw_latency(latency: Latency) -> Markup:
    def draw(axes: Axes, width: int) -> None:
        for name, line in SERIES.items():
            shares = [100 * reached / latency.runs for reached in getattr(latency, name)]
            axes.plot(
                latency.seconds, shares, line, color=COLOURS[name], linewidth=2.2, drawstyle="steps-post"
            )
        axes.set_xscale("log")
        axes.set_xlim(latency.seconds[0], latency.seconds[-1])
        axes.set_ylim(0, 102)
        axes.grid(axis="both")
        axes.minorticks_off()
        axes.set_xticks(_decades(latency.seconds, 8 if width > NARROW else 4))
        axes.set_yticks([0, 25, 50, 75, 100])
        axes.xaxis.set_major_formatter(lambda value, _place: duration(value))
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:.0f}%")

    label = "Share of the runs whose snapshot, manifest, pair, and sum of both sides took at most so long."
    return figure("latency", draw, height=300, margins=(58, 22, 12, 30), label=label)


def _decades(seconds: Sequence[float], most: int) -> list[float]:
    """Powers of ten within the seconds, so many at most."""
    inside = [10.0**power for power in range(-6, 6) if seconds[0] <= 10.0**power <= seconds[-1]]
    step = -(-len(inside) // most) or 1
    return inside[::step] or [seconds[0], seconds[-1]]


def draw_workers(workers: Workers) -> Markup:
    lanes, seconds = workers.listed, workers.seconds
    scale, unit = _unit(seconds)
    works = {"pair": ("pair", ""), "snapshot": ("snapshot", "////"), "manifest": ("manifest", "")}

    def draw(axes: Axes, width: int) -> None:
        for lane, worker in enumerate(lanes):
            axes.barh(lane, seconds / scale, height=0.62, color=COLOURS["line"], alpha=0.45, linewidth=0)
            for work, (colour, hatch) in works.items():
                spans = [
                    (span.started / scale, max(span.finished - span.started, seconds / width) / scale)
                    for span in worker.spans
                    if span.work == work
                ]
                axes.broken_barh(
                    spans, (lane - 0.31, 0.62), facecolor=COLOURS[colour], edgecolor=COLOURS["surface"],
                    linewidth=0.6, hatch=hatch,
                )  # fmt: skip
        axes.set_xlim(0, seconds / scale)
        axes.set_ylim(len(lanes) - 0.5, -0.5)
        axes.set_yticks(range(len(lanes)), [str(worker.pid) for worker in lanes])
        _elapsed(axes, width, unit)

    over = f"{len(lanes)} workers was busy, over {duration(seconds)}"
    label = f"When each of {over}. The table below has the sums."
    return figure("workers", draw, height=LANE * len(lanes) + 42, margins=(70, 22, 6, 30), label=label)


def _unit(seconds: float) -> tuple[int, str]:
    """In which so long a time is told by round numbers: its seconds, and its name."""
    if seconds < 180:
        return 1, "s"
    return (60, "min") if seconds < 3 * 3600 else (3600, "h")


def _elapsed(axes: Axes, width: int, unit: str) -> None:
    axes.locator_params(axis="x", nbins=9 if width > NARROW else 4)
    axes.xaxis.set_major_formatter(lambda value, _place: f"{value:g} {unit}")


COMPARISON_LANE = 38
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
        f"{name}-speedup",
        draw,
        height=COMPARISON_LANE * len(variants) + 40,
        margins=(104, 16, 4, 30),
        label=label,
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
        f"{name}-phases",
        draw,
        height=COMPARISON_LANE * len(variants) + 38,
        margins=(104, 22, 4, 30),
        label=label,
    )
