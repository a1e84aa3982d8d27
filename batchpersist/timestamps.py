"""Timestamps as text and as instants: UTC in ISO 8601, as JavaScript writes and reads them."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone


def utc_text(moment: datetime | None = None) -> str:
    """A moment (None: now), as JavaScript's ``toISOString`` writes it."""
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
    """A day, counted from 1970-01-01, as JavaScript writes it: ``2026-01-31``, ``-000001-01-01``.

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
    """A moment, counted from 1970 in UTC, as JavaScript's ``toISOString`` writes it.

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


_ISO = re.compile(
    r"""
    (?P<year> (?!-000000) [-+]\d{6} | \d{4}) - (?P<month> \d\d) - (?P<day> \d\d)
    (?P<clock>
        [T ] (?P<hour> \d\d) : (?P<minute> \d\d) (?: : (?P<second> \d\d) (?: [.,] (?P<fraction> \d+) )? )?
        \ ? (?P<zone> Z | (?P<sign> [-+]) (?P<hours> \d\d) (?: :? (?P<minutes> \d\d) )? )?
    )?
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_SECOND = 10**9


def parse_instant(text: str) -> int:
    """The instant that an ISO 8601 text names, in nanoseconds since 1970; UTC where it has no time zone.

    A day alone is its first instant. Takes what JavaScript writes, years of six digits included, and what
    Python, RFC 3339 and databases do. Raises ValueError, also for a day that its month does not have, which
    JavaScript takes for one of the next month.
    """
    found = _ISO.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a time in ISO 8601")
    year, month, day, hour, minute, second, hours, minutes = (int(found[name] or 0) for name in _NUMBERS)
    fraction = int((found["fraction"] or "")[:9].ljust(9, "0"))
    is_past_midnight = hour == 24 and (minute or second or fraction)
    if hour > 24 or is_past_midnight or minute > 59 or second > 60 or hours > 23 or minutes > 59:
        raise ValueError(f"{text!r} is not a time of day")
    like = 2000 + year % 400  # a year of the same calendar
    days = date(like, month, day).toordinal() - _FIRST.toordinal() + _FIRST_DAYS
    days += (year - like) // 400 * _CYCLE_DAYS
    offset = (hours * 60 + minutes) * (-1 if found["sign"] == "-" else 1)
    seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second
    at = seconds * _SECOND + fraction
    if abs(at // 10**6) > _MOST_DAYS * _DAY:
        raise ValueError(f"{text!r} is not a time: out of the range of dates")
    return at


_NUMBERS = ("year", "month", "day", "hour", "minute", "second", "hours", "minutes")

_AGO = re.compile("ago$", re.IGNORECASE)
_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
# M is a month to some.
_UNIT = r"(w|weeks?|d|days?|h|hr|hrs|hours?|(?-i:m)|min|mins|minutes?|s|sec|secs|seconds?)"
_SPAN = re.compile(rf"(?:\d{{1,9}}(?:\.\d+)?\s*{_UNIT}\s*)+", re.IGNORECASE | re.ASCII)
_SPAN_PART = re.compile(rf"(\d+(?:\.\d+)?)\s*{_UNIT}", re.IGNORECASE | re.ASCII)


def parse_span(text: str) -> float:
    """Seconds of a time span: ``90m``, ``1h30m``, ``2 days``. Raises ValueError."""
    if not _SPAN.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is not a time span")
    return sum(float(number) * _UNITS[unit[0].lower()] for number, unit in _SPAN_PART.findall(text))


def parse_period(text: str, now: datetime | None = None) -> tuple[str, str]:
    """Start and end, as ISO text in UTC, of what a person calls a time: of an instant both are the same.

    That is ISO 8601 (a day alone is all of it), ``now``, ``today``, ``yesterday``, or how long ago: ``7d``,
    ``2 days ago``. Raises ValueError.
    """
    moment = (now or datetime.now(timezone.utc)).astimezone(timezone.utc)
    words = text.strip().lower()
    if words in _DAYS_AGO:
        words = (moment - timedelta(days=_DAYS_AGO[words])).date().isoformat()
    try:
        is_date = _BEGINS_AS_DATE.match(words)
        at = parse_instant(words) if is_date else parse_instant(moment.isoformat()) - _ago(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is not an ISO date or time such as 2026-01-31 or 2026-01-31T12:00:00Z,"
            " nor one such as 7d, 12h, '2 days ago', yesterday, today or now"
        ) from None
    length = 86_400 * _SECOND if _DAY_ALONE.fullmatch(words) else 0
    return _instant_text(at), _instant_text(at + length)


_DAYS_AGO = {"today": 0, "yesterday": 1}
_BEGINS_AS_DATE = re.compile(r"[-+]?\d+-")
_DAY_ALONE = re.compile(r"(?:[-+]\d{6}|\d{4})-\d\d-\d\d", re.ASCII)


def _ago(text: str) -> int:
    """Nanoseconds."""
    if text.lower() == "now":
        return 0
    seconds = parse_span(_AGO.sub("", text.removeprefix("-")))
    return round(seconds * _SECOND)


def _instant_text(nanoseconds: int) -> str:
    """In JavaScript's form; with more digits only where the instant has some."""
    milliseconds, rest = divmod(nanoseconds, 10**6)
    text = javascript_time(milliseconds)
    return f"{text[:-1]}{rest:06}Z" if rest else text
