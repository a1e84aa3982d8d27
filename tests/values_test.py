"""Columns as JSON: each type's form, and any nesting of lists and objects against Python's own."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpersist.errors import SourceUnreadableError
from batchpersist.sources.values import json_values


def texts(column: pa.Array) -> list[str]:
    return [msgspec.json.encode(value).decode() for value in json_values(column)]


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
        (pa.array([2**31 - 1, -(2**31)], pa.date32()), None),
        (pa.array([2**63 - 1, -(2**63)], pa.timestamp("ms")), None),
        (pa.array([2**63 - 1, -(2**63)], pa.timestamp("ns", "UTC")), None),
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
def test_each_type_has_its_form(column: pa.Array, expected: list[str] | None) -> None:
    found = texts(column)
    if expected is not None:  # far beyond any calendar, it is enough that there is one
        assert found == expected
    assert texts(column.slice(1)) == found[1:]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize(
    ("unit", "value"), [("s", 1), ("ms", 1_999), ("us", 1_999_999), ("ns", 1_999_999_999)]
)
def test_timestamps_are_iso_in_utc_with_milliseconds(zone: str | None, unit: str, value: int) -> None:
    expected = "1970-01-01T00:00:01.000Z" if unit == "s" else "1970-01-01T00:00:01.999Z"
    column = pa.array([7, value, None], pa.timestamp(unit, zone)).slice(1)
    assert json_values(column) == [expected, None]


@given(st.datetimes(dt.datetime(1000, 1, 1), dt.datetime(9999, 12, 31)))
def test_timestamps_are_those_of_python(moment: dt.datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    expected = moment.isoformat(timespec="milliseconds") + "Z"
    assert json_values(pa.array([moment], pa.timestamp("us"))) == [expected]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([5], pa.duration("s")),
        pa.array([b"0123"], pa.binary(4)),
        pa.array([[(1, 1)]], pa.map_(pa.int8(), pa.int8())),
        pa.array([[dt.timedelta(1)]]),
    ],
)
def test_other_types_are_refused(column: pa.Array) -> None:
    with pytest.raises(SourceUnreadableError, match="without a form in JSON"):
        json_values(column)


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
    assert json_values(column) == [without_nulls(value) for value in values[start:]]
