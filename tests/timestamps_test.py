"""Times as text, compared with Python, JavaScript and plain arithmetic; and relative times."""

from __future__ import annotations

import datetime as dt
import re
from calendar import isleap
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.javascript import JavaScript, needs_node

from batchpersist.timestamps import javascript_time, parse_instant, parse_period, parse_span

UTC = dt.timezone.utc
EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)
NOW = dt.datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)


def nanoseconds(moment: dt.datetime) -> int:
    return (moment - EPOCH) // dt.timedelta(microseconds=1) * 1000


ZONES = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))


@given(st.datetimes(timezones=st.none() | ZONES | st.just(UTC)), st.sampled_from("T t"))
def test_python_s_times_are_read_as_the_same_instant(moment: dt.datetime, separator: str) -> None:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    assert parse_instant(moment.isoformat(separator)) == nanoseconds(aware)


@given(st.integers(-8_640_000_000_000_000, 8_640_000_000_000_000))
def test_javascript_s_times_are_read_as_the_same_instant(milliseconds: int) -> None:
    assert parse_instant(javascript_time(milliseconds)) == milliseconds * 10**6


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("2026-01-31T12:00", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31t12:00:00z", "2026-01-31T12:00:00Z"),
        ("2026-01-31 12:00:00,5 +0130", "2026-01-31T10:30:00.5Z"),
        ("2026-01-31T12:00:00.123456789123-01", "2026-01-31T13:00:00.123456789Z"),
        ("2026-01-31T24:00:00Z", "2026-02-01T00:00:00Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        (" 2026-01-31T12:00:00Z\n", "2026-01-31T12:00:00Z"),
        ("+002026-01-31", "2026-01-31"),
    ],
)
def test_spellings_of_an_instant_are_equal(text: str, other: str) -> None:
    assert parse_instant(text) == parse_instant(other)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "2026", "1769860800", "31.01.2026", "Sat, 31 Jan 2026", "٢٠٢٦-01-31"),
        *("2026-13-01", "2026-02-30", "2026-01-31T25:00", "2026-01-31T24:01", "2026-01-31T12:60"),
        *("2026-01-31T24:00:00.5Z", "-000000-01-01T00:00:00Z", "2026-01-31T12:00:00+24:00", "+275761-01-01"),
        *("2026-01-31T12:00:61", "2026-01-31T12:00:00+01:60", "2026-01-31T12:00:00Z x"),
    ],
)
def test_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a time|month must be|day is out of range|day \d+ must be"):
        parse_instant(text)


YEARS = ["2026", "0000", "0001", "+002026", "+000000", "-000000", "-000001", "+275760", "-271821", "+275761"]
DAYS = [
    "01-31",
    "02-28",
    "02-29",
    "02-30",
    "04-31",
    "12-31",
    "00-10",
    "13-01",
    "01-00",
    "01-32",
    "09-13",
    "04-20",
]
CLOCKS = [
    "00:00",
    "12:30",
    "23:59:59",
    "23:59:59.9",
    "23:59:59.123456789",
    "24:00",
    "24:00:00",
    "24:00:00.000",
]
CLOCKS += ["24:00:00.5", "24:00:00.001", "24:00:01", "24:01", "25:00", "12:60", "12:00:61"]
OFFSETS = ["", "Z", "z", "+00:00", "-00:00", "+0130", "+23:59", "-23:59", "+24:00", "-99:00", "+01:60"]


@needs_node
def test_times_are_read_as_javascript_reads_them() -> None:
    dates = [f"{year}-{day}" for year, day in product(YEARS, DAYS)]
    texts = dates + ["".join(parts) for parts in product(dates, "Tt", CLOCKS, OFFSETS)]
    texts += ["".join(parts) for parts in product(["2026-01-31 "], CLOCKS, OFFSETS)]
    with JavaScript("(texts) => (process.env.TZ = 'UTC', texts.map((text) => Date.parse(text)))") as parse:
        expected = dict(zip(texts, parse(texts), strict=True))
    found = {text: milliseconds(text) for text in texts}
    differing = {
        text: (time, expected[text])
        for text, time in found.items()
        if time != (None if is_lenient(text, time) else expected[text])
    }
    assert differing == {}
    assert sum(time is not None for time in found.values()) > 5_000


def milliseconds(text: str) -> int | None:
    try:
        return parse_instant(text) // 10**6
    except ValueError:
        return None


def is_lenient(text: str, found: int | None) -> bool:
    """Whether JavaScript is lenient: it reads February 30th as a day of March, and without a T more forms."""
    if re.search("-(02-30|04-31)", text) or is_leap_day_missing(text):
        return True
    return found is None and "T" not in text.upper()


def is_leap_day_missing(text: str) -> bool:
    year, day = re.fullmatch(r"([-+]?\d+)-(\d\d-\d\d).*", text).groups()  # type: ignore[union-attr]
    return day == "02-29" and not isleap(int(year))


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("now", "2026-03-01T12:30:15.250Z", None),
        ("7d", "2026-02-22T12:30:15.250Z", None),
        ("-7d", "2026-02-22T12:30:15.250Z", None),
        ("12h", "2026-03-01T00:30:15.250Z", None),
        ("2 days ago", "2026-02-27T12:30:15.250Z", None),
        ("1 Week", "2026-02-22T12:30:15.250Z", None),
        ("1h30m", "2026-03-01T11:00:15.250Z", None),
        ("0.5 hours ago", "2026-03-01T12:00:15.250Z", None),
        ("today", "2026-03-01T00:00:00.000Z", "2026-03-02T00:00:00.000Z"),
        ("Yesterday", "2026-02-28T00:00:00.000Z", "2026-03-01T00:00:00.000Z"),
        ("2026-01-31", "2026-01-31T00:00:00.000Z", "2026-02-01T00:00:00.000Z"),
        ("2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00.000Z", None),
        ("2026-01-31 12:00", "2026-01-31T12:00:00.000Z", None),
        ("2026-01-31T12:00:00.0005Z", "2026-01-31T12:00:00.000500000Z", None),
        ("+010000-01-01", "+010000-01-01T00:00:00.000Z", "+010000-01-02T00:00:00.000Z"),
    ],
)
def test_relative_time_is_a_period(text: str, start: str, end: str | None) -> None:
    assert parse_period(text, NOW) == (start, end or start)


def test_days_are_those_of_utc_in_any_time_zone() -> None:
    late = dt.datetime(2026, 3, 1, 23, 30, tzinfo=dt.timezone(dt.timedelta(hours=-5)))
    assert parse_period("today", late)[0] == "2026-03-02T00:00:00.000Z"


@pytest.mark.parametrize(
    "text", ["", "7", "ago", "7x", "tomorrow", "2026", "9" * 400 + "d", "999999999w", "d7", "1M", "1M ago"]
)
def test_invalid_relative_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"yesterday|out of the range"):
        parse_period(text, NOW)


def test_span_ignores_case_but_a_capital_m_is_refused() -> None:
    assert parse_period("2 Days AGO", NOW) == parse_period("2 days ago", NOW)
    assert parse_span("1H 30MIN") == parse_span("1h 30m")
    with pytest.raises(ValueError, match="is not a time span"):
        parse_span("3M")  # may mean months


PARTS = st.tuples(st.integers(0, 99), st.sampled_from(["w", "d", "h", "m", "s", " days", " min"]))


@given(st.lists(PARTS, min_size=1))
def test_span_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    seconds = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
    expected = sum(Fraction(number) * seconds[unit.strip()[0]] for number, unit in parts)
    assert parse_span(" ".join(f"{number}{unit}" for number, unit in parts)) == expected
