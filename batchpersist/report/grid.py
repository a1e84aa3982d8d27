"""Columns of plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_BLOCKS = " ▁▂▃▄▅▆▇█"


def grid(rows: Sequence[Sequence[str]], *, left: int = 1, indent: str = "  ") -> Iterator[str]:
    """Lines whose cells stand below each other: the first ``left`` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:{'<' if place < left else '>'}{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield (indent + "  ".join(cells)).rstrip()


def bar(value: float, whole: float, width: int) -> str:
    """A bar as long as the value's share of the whole."""
    return "█" * round(width * value / whole) if whole else ""


def course(values: Sequence[float]) -> str:
    """A character a value, the highest one full."""
    highest = max(values, default=0.0)
    if not highest:
        return ""
    return "".join(_BLOCKS[-(-8 * value // highest).__int__()] for value in values)


def cut(text: str, width: int) -> str:
    """No longer than ``width``, with an ellipsis where something is left out."""
    return text if len(text) <= width else text[: width - 1] + "…"
