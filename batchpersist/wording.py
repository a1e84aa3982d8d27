"""Figures, sizes, durations and moments in words."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")


def count(value: float) -> str:
    """``2,000``: with a comma between thousands."""
    return f"{value:,.0f}"


def number(count: int, noun: str) -> str:
    """``1 run``, ``2,000 runs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """A measured time, to three digits or whole seconds; ``-`` for None."""
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


def rough_duration(seconds: float) -> str:
    """An estimate or a limit: two digits, in the largest unit of which there are two at least."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{float(f'{seconds / length:.2g}'):,g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} s"


def size(count: float) -> str:
    """Bytes with the unit that makes them short."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {_UNITS[unit]}"


def share(part: float, whole: float) -> str:
    """A percentage: 0% is said of nothing only, and 100% of all only."""
    if not whole or not part:
        return "0%"
    percent = 100 * part / whole
    if percent < 0.1:
        return "<0.1%"
    if part < whole and percent > 99.9:
        return ">99.9%"
    return f"{percent:.0f}%" if 10 <= percent <= 90 or part == whole else f"{percent:.1f}%"


def moment(text: str | None) -> str:
    """``2026-01-31T04:05:06.789Z`` as ``2026-01-31 04:05:06 UTC``; "" for None."""
    return "" if text is None else f"{text[:10]} {text[11:19]} UTC"
