"""Drawings as SVG whose colours follow the page: light, dark and printed.

Drawn by matplotlib, without its global state (no pyplot), twice: for a wide page and for a phone.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

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

Draw = Callable[["Axes", int], None]
"""Draws into axes, for a figure so wide."""

Margins = tuple[int, int, int, int]
"""Pixels left, right, above and below the axes."""


def figure(name: str, draw: Draw, *, height: int, margins: Margins, label: str) -> Markup:
    """The drawing in both widths, of which the page shows one. ``label``: what one would see, in words."""
    from markupsafe import Markup

    drawn = [_svg(f"{name}-{width}", draw, width, height, margins, label) for width in (WIDE, NARROW)]
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(*map(Markup, drawn))


def _svg(name: str, draw: Draw, width: int, height: int, margins: Margins, label: str) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    left, right, above, below = margins
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the browser has fonts of its own
        drawing = Figure(figsize=(width / 72, height / 72), dpi=72)
        canvas: Any = FigureCanvasSVG(drawing)
        place = (
            left / width,
            below / height,
            (width - left - right) / width,
            (height - above - below) / height,
        )
        draw(drawing.add_axes(place), width)
        drawing.patch.set_visible(False)
        written = io.StringIO()
        canvas.print_svg(written, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _adapt_to_page(written.getvalue(), label)


def _adapt_to_page(svg: str, label: str) -> str:
    """As part of a page: no names of its own but those it refers to, the page's colours and fonts."""
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
