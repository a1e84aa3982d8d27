"""Columns as JSON: each type's form, and any nesting of lists and objects against Python's own."""

from __future__ import annotations

import datetime as dt
import math
from decimal import ROUND_FLOOR, Context, Decimal, localcontext
from typing import Any
from uuid import UUID

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpersist.errors import InvalidRunError, SourceUnreadableError
from batchpersist.sources.arrow_values import Unencodable, json_values


def texts(column: pa.Array) -> list[str]:
    return [msgspec.json.encode(value).decode() for value in json_values(column, "c")]


def forms(column: pa.Array) -> list[Any]:
    """The values; None where the row would be invalid."""
    return [None if isinstance(value, Unencodable) else value for value in json_values(column, "c")]


@pytest.mark.parametrize(
    ("number", "expected"),
    [  # expected: what node prints for JSON.stringify
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-5.5, "-5.5"),
        (0.1, "0.1"),
        (1e-4, "0.0001"),
        (1e-5, "0.00001"),
        (1.5e-6, "0.0000015"),
        (1e-6, "0.000001"),
        (9.9e-7, "9.9e-7"),
        (1e-7, "1e-7"),
        (1.25e-10, "1.25e-10"),
        (5e-324, "5e-324"),
        (1e15, "1000000000000000"),
        (1e16, "10000000000000000"),
        (1.5e16, "15000000000000000"),
        (2.0**60, "1152921504606847000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (-1.7976931348623157e308, "-1.7976931348623157e+308"),
    ],
)
def test_numbers_are_written_as_javascript_does(number: float, expected: str) -> None:
    assert texts(pa.array([number])) == [expected]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_their_value(number: float) -> None:
    assert float(texts(pa.array([number]))[0]) == number


UTC = dt.timezone.utc


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([2**63 - 1, -(2**63)]), ["9223372036854775807", "-9223372036854775808"]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([True, False, None]), ["true", "false", "null"]),
        (pa.array([Decimal("1.10"), Decimal("-1234567890123456789.5")]), ["1.10", "-1234567890123456789.50"]),
        (pa.array([dt.date(2025, 1, 31)]), ['"2025-01-31"']),
        (pa.array([-1, 86_399_999], pa.int64()).view(pa.date64()), ['"1969-12-31"', '"1970-01-01"']),
        (pa.array([dt.time(12, 30, 1)]), ['"12:30:01.000000"']),
        (pa.array(["a", "b", "a", None]).dictionary_encode(), ['"a"', '"b"', '"a"', "null"]),
        (pa.array([b"\xc3\xa4", None]), ['"ä"', "null"]),
        (pa.array([None, None]), ["null", "null"]),
        (pa.array([0.5], pa.float16()), ["0.5"]),
        (pa.array([[("k", 1), ("n", None)]], pa.map_(pa.string(), pa.int8())), ['{"k":1,"n":null}']),
        (pa.array([None, []], pa.map_(pa.string(), pa.int8())), ["null", "{}"]),
        (pa.array([[1, None], None, [3, 4]], pa.list_(pa.int8(), 2)), ["[1,null]", "null", "[3,4]"]),
        (pa.array([[[]], [None, ["x"]]]), ["[[]]", '[null,["x"]]']),
        (pa.array([{"a": None, "b": {"c": None}}, None]), ['{"b":{}}', "null"]),
    ],
)  # fmt: skip
def test_each_type_has_its_form(column: pa.Array, expected: list[str]) -> None:
    assert texts(column) == expected
    assert texts(column.slice(1)) == expected[1:]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize(
    ("unit", "value"), [("s", 1), ("ms", 1_999), ("us", 1_999_999), ("ns", 1_999_999_999)]
)
def test_timestamps_are_iso_in_utc_with_milliseconds(zone: str | None, unit: str, value: int) -> None:
    expected = "1970-01-01T00:00:01.000Z" if unit == "s" else "1970-01-01T00:00:01.999Z"
    column = pa.array([7, value, None], pa.timestamp(unit, zone)).slice(1)
    assert json_values(column, "c") == [expected, None]


@given(st.datetimes())
def test_timestamps_are_those_of_python(moment: dt.datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    expected = moment.isoformat(timespec="milliseconds") + "Z"
    assert json_values(pa.array([moment], pa.timestamp("us")), "c") == [expected]


PER_SECOND = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}
INT64 = st.integers(-(2**63), 2**63 - 1)
EDGES = [8_640_000_000_000_000, 253_402_300_800_000, 0, -62_135_596_800_000, -62_167_219_200_000]
"""In milliseconds: JavaScript's last moment, the years 10000, 1970, 1 and 0."""


def slow_text(moment: Decimal) -> str | None:
    """Seconds since 1970 as toISOString words them, by counting leap years; None out of its range."""
    milliseconds = int((moment * 1000).to_integral_value(ROUND_FLOOR))
    if abs(milliseconds) > 8_640_000_000_000_000:
        return None
    days, rest = milliseconds // 86_400_000, milliseconds % 86_400_000
    year = 1970 + days // (366 if days > 0 else 365) - 1
    while _days_before(year + 1) <= days:
        year += 1
    is_leap = _days_before(year + 1) - _days_before(year) == 366
    day = dt.date(2000 if is_leap else 2001, 1, 1) + dt.timedelta(days - _days_before(year))
    clock = (dt.datetime(1, 1, 1) + dt.timedelta(milliseconds=rest)).time().isoformat("milliseconds")
    shown = f"{year:04}" if 0 <= year <= 9999 else f"{year:+07}"
    return f"{shown}-{day.month:02}-{day.day:02}T{clock}Z"


def _days_before(year: int) -> int:
    """Days from 1970 to the start of a year: a leap year every 4, not every 100, but every 400."""

    def leap_years(last: int) -> int:
        return last // 4 - last // 100 + last // 400

    return 365 * (year - 1970) + leap_years(year - 1) - leap_years(1969)


@given(
    st.sampled_from(sorted(PER_SECOND)),
    st.sampled_from([None, "UTC", "+05:30", "America/New_York"]),
    st.lists(st.none() | INT64 | st.tuples(st.sampled_from(EDGES), st.integers(-2000, 2000)), max_size=5),
)
def test_a_timestamp_is_right_or_invalid_in_all_units_and_zones(
    unit: str, zone: str | None, drawn: list[Any]
) -> None:
    values = [
        edge[0] * PER_SECOND[unit] // 1000 + edge[1] if isinstance(edge, tuple) else edge for edge in drawn
    ]
    values = [value for value in values if value is None or abs(value) < 2**63]
    with localcontext(Context(prec=60)):
        expected = [
            value if value is None else slow_text(Decimal(value) / PER_SECOND[unit]) for value in values
        ]
    assert forms(pa.array(values, pa.int64()).cast(pa.timestamp(unit, zone))) == expected


@given(st.datetimes())
def test_the_slow_form_of_a_timestamp_is_that_of_python(moment: dt.datetime) -> None:
    seconds = Decimal((moment - dt.datetime(1970, 1, 1)) // dt.timedelta(milliseconds=1)) / 1000
    assert slow_text(seconds) == moment.isoformat(timespec="milliseconds") + "Z"


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [  # expected: what node prints for new Date(...).toISOString()
        ("ms", 8_640_000_000_000_000, "+275760-09-13T00:00:00.000Z"),
        ("ms", -8_640_000_000_000_000, "-271821-04-20T00:00:00.000Z"),
        ("ms", 253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
        ("ms", -62_167_219_200_001, "-000001-12-31T23:59:59.999Z"),
        ("s", -62_167_219_200, "0000-01-01T00:00:00.000Z"),
        ("s", 1_767_225_600_000, "+057971-02-25T00:00:00.000Z"),
        ("us", -1, "1969-12-31T23:59:59.999Z"),
        ("ns", 2**63 - 1, "2262-04-11T23:47:16.854Z"),
        ("ms", 8_640_000_000_000_001, None),
        ("s", 2**62, None),
    ],
)
def test_timestamps_beyond_four_digits_are_those_of_javascript(
    unit: str, value: int, expected: str | None
) -> None:
    assert forms(pa.array([value], pa.timestamp(unit))) == [expected]


@given(st.integers(-(2**31), 2**31 - 1))
def test_a_date_is_right_or_invalid(days: int) -> None:
    expected = slow_text(Decimal(days * 86_400))
    day = expected and expected.partition("T")[0]
    assert forms(pa.array([days], pa.date32())) == [day]
    assert forms(pa.array([days * 86_400_000], pa.int64()).view(pa.date64())) == [day]


@given(st.sampled_from(sorted(PER_SECOND)), st.integers(-(2**31), 2**31 - 1), st.booleans())
def test_a_time_is_right_or_invalid(unit: str, drawn: int, within: bool) -> None:
    per_second, is_short = PER_SECOND[unit], unit in ("s", "ms")
    value = drawn % (86_400 * per_second) if within else drawn * (1 if is_short else 10**6)
    column = pa.array([value], pa.int32() if is_short else pa.int64())
    found = forms(column.view(pa.time32(unit) if is_short else pa.time64(unit)))
    if not 0 <= value < 86_400 * per_second:
        assert found == [None]
        return
    hours, minutes, seconds = found[0].split(":")
    with localcontext(Context(prec=30)):
        assert (int(hours) * 60 + int(minutes)) * 60 + Decimal(seconds) == Decimal(value) / per_second
    assert len(seconds.partition(".")[2]) == {"s": 0, "ms": 3, "us": 6, "ns": 9}[unit]


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array([1.0, math.nan]), "`c` holds NaN or infinity, which JSON does not have"),
        (pa.array([[0.5], [math.inf]]), "`c` holds NaN or infinity, which JSON does not have"),
        (pa.array([{"a": {"b": 1.5}}, {"a": {"b": -math.inf}}]), "`c.a.b` holds NaN or infinity, which"),
        (pa.array([b"a", b"\xff"]), "`c` holds bytes that are no UTF-8"),
        (pa.array([0, 2**62], pa.timestamp("s")), "`c` holds a time that is out of the range of dates"),
        (pa.array([0, 2**30], pa.date32()), "`c` holds a date that is out of range"),
    ],
)
def test_a_value_without_a_form_names_its_column(column: pa.Array, reason: str) -> None:
    encode = msgspec.json.Encoder(enc_hook=Unencodable.refuse).encode
    right, wrong = json_values(column, "c")
    assert encode(right)
    with pytest.raises(InvalidRunError, match=f"^column {reason}"):
        encode(wrong)


def test_a_uuid_is_its_text() -> None:
    column = pa.array([UUID(int=5).bytes, None], pa.uuid())
    assert json_values(column, "c") == ["00000000-0000-0000-0000-000000000005", None]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([5], pa.duration("s")),
        pa.array([pa.MonthDayNano([1, 2, 3])]),
        pa.array([b"0123"], pa.binary(4)),
        pa.array([[(1, 1)]], pa.map_(pa.int8(), pa.int8())),
        pa.array([[dt.timedelta(1)]]),
    ],
)
def test_other_types_are_refused(column: pa.Array) -> None:
    with pytest.raises(SourceUnreadableError, match=r"column `c` has type .*, without a form in JSON"):
        json_values(column, "c")


KINDS = st.recursive(
    st.sampled_from([pa.int64(), pa.string(), pa.bool_()]),
    lambda inner: (
        inner.map(pa.list_)
        | inner.map(pa.large_list)
        | st.tuples(inner, inner).map(lambda two: pa.struct(zip("ab", two, strict=True)))
    ),
    max_leaves=5,
)


def of_kind(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_struct(kind):
        some = st.fixed_dictionaries({field.name: of_kind(field.type) for field in kind})
    elif pa.types.is_nested(kind):
        some = st.lists(of_kind(kind.value_type), max_size=3)
    else:
        some = {pa.int64(): st.integers(-9, 9), pa.string(): st.text(max_size=3), pa.bool_(): st.booleans()}[
            kind
        ]
    return st.none() | some


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@given(st.data())
def test_nested_columns_hold_what_went_in(data: st.DataObject) -> None:
    kind = data.draw(KINDS)
    values = data.draw(st.lists(of_kind(kind), max_size=6))
    start = data.draw(st.integers(0, 6))
    column = pa.array(values, kind).slice(start)
    assert json_values(column, "c") == [without_nulls(value) for value in values[start:]]
