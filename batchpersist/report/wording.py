"""Figures, sizes and durations in words."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")


def count(value: float) -> str:
    """With a comma between thousands."""
    return f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Seconds with the unit that makes them short; ``-`` for None."""
    if seconds is None:
        return "-"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms" if seconds < 0.9995 else "1.00 s"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(count: float) -> str:
    """Bytes with the unit that makes them short."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {_UNITS[unit]}"


def share(part: float, whole: float) -> str:
    """A percentage; never 0% or 100% of what is not nothing or all."""
    if not whole or not part:
        return "0%"
    percent = 100 * part / whole
    if percent < 0.1:
        return "<0.1%"
    if part < whole and percent > 99.9:
        return ">99.9%"
    return f"{percent:.0f}%" if 10 <= percent <= 90 or part == whole else f"{percent:.1f}%"


def moment(text: str | None) -> str:
    """``2026-01-31T04:05:06.789Z`` without what a person does not need."""
    return "" if text is None else f"{text[:10]} {text[11:19]} UTC"
