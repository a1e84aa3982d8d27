"""Moments as text: UTC in ISO 8601, as JavaScript writes it."""

from __future__ import annotations

from datetime import date, datetime, timezone


def utc_text(moment: datetime | None = None) -> str:
    """A moment (None: now), as JavaScript's ``toISOString`` words it."""
    utc = (moment or datetime.now(timezone.utc)).astimezone(timezone.utc)
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_of(text: str) -> datetime:
    """The moment, or the day, that an ISO 8601 text names; without a time zone where it has none.

    Raises ValueError.
    """
    return datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 knows no Z


_CYCLE_DAYS = 146_097
"""Of 400 years: the calendar repeats after them, so that years beyond Python's have their place."""

_FIRST = date(2000, 1, 1)
_FIRST_DAYS = (_FIRST - date(1970, 1, 1)).days

_MOST_DAYS = 100_000_000
_DAY = 86_400_000


def javascript_date(days: int) -> str:
    """A day, counted from 1970-01-01, as JavaScript words it: ``2026-01-31``, ``-000001-01-01``.

    Raises ValueError for a day that a JavaScript date cannot be.
    """
    if abs(days) > _MOST_DAYS:
        raise ValueError("out of the range of dates")
    cycles, day = divmod(days - _FIRST_DAYS, _CYCLE_DAYS)
    found = date.fromordinal(_FIRST.toordinal() + day)
    year = found.year + 400 * cycles
    spelled = f"{year:04}" if 0 <= year <= 9999 else f"{'-' if year < 0 else '+'}{abs(year):06}"
    return f"{spelled}-{found.month:02}-{found.day:02}"


def javascript_time(milliseconds: int) -> str:
    """A moment, counted from 1970 in UTC, as JavaScript's ``toISOString`` words it.

    Raises ValueError for a moment that a JavaScript date cannot be.
    """
    if abs(milliseconds) > _MOST_DAYS * _DAY:
        raise ValueError("out of the range of dates")
    days, rest = divmod(milliseconds, _DAY)
    return f"{javascript_date(days)}T{clock_time(rest, 3)}Z"


def clock_time(count: int, digits: int) -> str:
    """A time of day as text; ``count`` is in units of so many decimal digits of a second."""
    seconds, fraction = divmod(count, 10**digits)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}" + (f".{fraction:0{digits}}" if digits else "")
