"""The pictures of a batch: its course, its times, its workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .document import Latency, Throughput, Workers
from .figures import COLOURS, NARROW, figure
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
