"""The charts of a batch and of a comparison, as SVG whose colours follow the page: light, dark and printed.

Drawn by matplotlib, without its global state (no pyplot), twice: for a wide page and for a phone.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from ..compare.document import PHASES, Variant
from ..foreign_text import printable
from ..wording import count, duration
from .document import Latency, Throughput, Workers

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

WIDE, NARROW = 1000, 360
"""Widths in pixels of the page."""

_NAMES = (
    *("ink", "muted", "line", "surface", "snapshot", "manifest", "pair", "sum", "accent"),
    *("read", "parse", "lock_wait", "sync", "pool", "other"),
)
COLOURS = {name: f"#0000{place:02x}" for place, name in enumerate(_NAMES, 1)}
"""What is drawn in one of these comes out as the variable of this name in the page's style."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud, and takes the page's fonts
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 12,
    "axes.facecolor": "none",
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.8,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "xtick.major.pad": 10,
    "ytick.major.pad": 8,
    "hatch.linewidth": 1.0,
}


class Picture:
    """A drawing in both widths, of which the page shows one."""

    def __init__(self, name: str, height: int, margins: tuple[int, int, int, int]) -> None:
        """``margins``: pixels left, right, above and below the axes."""
        self._name = name
        self._height = height
        self._margins = margins
        self._drawn: list[str] = []

    def axes(self) -> Iterator[tuple[Axes, int]]:
        """Axes to draw into, with the width of their figure in pixels: one after the other."""
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        left, right, above, below = self._margins
        for width in (WIDE, NARROW):
            style = {**_STYLE, "svg.hashsalt": f"{self._name}-{width}"}
            with mpl.rc_context(style), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the browser has its own
                figure = Figure(figsize=(width / 72, self._height / 72), dpi=72)
                canvas: Any = FigureCanvasSVG(figure)
                place = (
                    left / width,
                    below / self._height,
                    (width - left - right) / width,
                    (self._height - above - below) / self._height,
                )
                yield figure.add_axes(place), width
                figure.patch.set_visible(False)
                written = io.StringIO()
                canvas.print_svg(written, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
            self._drawn.append(written.getvalue())

    def markup(self, label: str) -> Markup:
        """What was drawn, as part of a page. ``label`` describes it to those who cannot see it."""
        from markupsafe import Markup

        drawn = (Markup(_adapt_to_page(svg, label)) for svg in self._drawn)
        return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(*drawn)


def _adapt_to_page(svg: str, label: str) -> str:
    """Make it part of a page: with no ids but those it refers to, in the page's colours and fonts."""
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    referred = set(re.findall(r"#([\w-]+)[\")]", svg))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in list(element.attrib):
            value = element.attrib.pop(key)
            if key != "id" or value in referred:
                element.set(key.rpartition("}")[2], _adapt_value(value))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": label}
    return ElementTree.tostring(root, "unicode")


def _adapt_value(value: str) -> str:
    value = re.sub(r"font: ([\w. ]*?)([\d.]+px) [^;]*", r"font-size: \2", value)
    value = re.sub(r"font-family: [^;]*;?", "", value)
    return re.sub(r"#0000([0-9a-f]{2})", lambda found: f"var(--{_NAMES[int(found[1], 16) - 1]})", value)


LANE = 30
"""Pixels of height for a worker."""

SERIES = {"sum": ":", "snapshot": "-", "manifest": "-", "pair": "--"}
"""The curves of a distribution, each with its line: they can be distinguished without colours as well."""


def draw_throughput(course: Throughput) -> Markup:
    """Runs a second over the time of a batch."""
    rates = [runs / course.bin_seconds for runs in course.runs]
    seconds = course.bin_seconds * len(rates)
    scale, unit = _unit(seconds)
    moments = [place * course.bin_seconds / scale for place in range(len(rates) + 1)]
    picture = Picture("throughput", 240, (58, 22, 12, 30))
    for axes, width in picture.axes():
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
    return picture.markup(label)


def draw_latency(latency: Latency) -> Markup:
    """How many of the runs took at most so long: a curve for each side, their pair and their sum."""
    picture = Picture("latency", 300, (58, 22, 12, 30))
    for axes, width in picture.axes():
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
    return picture.markup(label)


def _decades(seconds: Sequence[float], most: int) -> list[float]:
    """Powers of ten within the seconds, so many at most."""
    inside = [10.0**power for power in range(-6, 6) if seconds[0] <= 10.0**power <= seconds[-1]]
    step = -(-len(inside) // most) or 1
    return inside[::step] or [seconds[0], seconds[-1]]


def draw_workers(workers: Workers) -> Markup:
    """When each worker was busy, and with which work."""
    lanes, seconds = workers.listed, workers.seconds
    scale, unit = _unit(seconds)
    works = {"pair": ("pair", ""), "snapshot": ("snapshot", "////"), "manifest": ("manifest", "")}
    picture = Picture("workers", LANE * len(lanes) + 42, (70, 22, 6, 30))
    for axes, width in picture.axes():
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
    return picture.markup(label)


def _unit(seconds: float) -> tuple[int, str]:
    """The unit in which so long a time has round numbers: its seconds, and its name."""
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
    picture = Picture(f"{name}-speedup", COMPARISON_LANE * len(variants) + 40, (104, 16, 4, 30))
    for axes, width in picture.axes():
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
    return picture.markup(label)


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
    picture = Picture(f"{name}-scaling", 280, (58, 30, 14, 30))
    for axes, _ in picture.axes():
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

    speeds = "; ".join(
        f"{mode}: "
        + ", ".join(
            f"{each.workers} workers {measured[0].median / each.median:.2f} times" for each in measured
        )
        for mode, measured in modes.items()
    )
    label = f"Speed over the number of workers, against the fewest measured: {speeds}."
    return picture.markup(label)


def draw_phases(name: str, variants: Sequence[Variant]) -> Markup:
    """Stacked bars: each variant's seconds of work by phase, as shares."""
    picture = Picture(f"{name}-phases", COMPARISON_LANE * len(variants) + 38, (104, 22, 4, 30))
    for axes, width in picture.axes():
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
    return picture.markup(label)
