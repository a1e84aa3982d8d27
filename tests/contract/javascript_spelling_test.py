"""Numbers, names and what reads alike, held against the real JSON.parse and JSON.stringify."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.javascript import JavaScript, needs_node
from support.json_spelling import STRINGS, Number, js_string, spell

from batchpersist.contract.javascript_spelling import as_doubles, javascript_number, spell_as_javascript
from batchpersist.contract.json_text import canonical, reads_alike
from batchpersist.errors import InvalidRunError

Pairs = tuple[tuple[str, object], ...]


@pytest.fixture(scope="module")
def stringify() -> Iterator[JavaScript]:
    with JavaScript("(text) => JSON.stringify(JSON.parse(text), null, 2)") as function:
        yield function


def spelled(text: str) -> str:
    return spell_as_javascript(canonical(text.encode())).decode()


NUMBERS = [
    ("1.0", "1"),
    ("-1.50", "-1.5"),
    ("0.10", "0.1"),
    ("-0", "0"),
    ("-0.0e5", "0"),
    ("0e99999999999999999999999", "0"),
    ("1e-07", "1e-7"),
    ("1E5", "100000"),
    ("1e+05", "100000"),
    ("0.0000001", "1e-7"),
    ("0.000001", "0.000001"),
    ("1e20", "100000000000000000000"),
    ("1e21", "1e+21"),
    ("100000000000000000000000", "1e+23"),
    ("9007199254740992", "9007199254740992"),
    ("0.30000000000000004", "0.30000000000000004"),
    ("5e-324", "5e-324"),
    ("1.7976931348623157e308", "1.7976931348623157e+308"),
    # A double holds another value, or none: nothing is lost.
    ("9007199254740993", "9007199254740993"),
    ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
    ("1e400", "1e400"),
    ("-1E+400", "-1E+400"),
    ("1e-400", "1e-400"),
    ("1e-99999999999999999999999", "1e-99999999999999999999999"),
    ("3e-324", "3e-324"),
]


@pytest.mark.parametrize(("text", "expected"), NUMBERS)
def test_a_number_is_spelled_as_javascript_spells_it_unless_that_loses_digits(text, expected):
    assert spelled(text) == expected
    assert spelled(f"[{text}]") == f"[\n  {expected}\n]"
    assert spelled(f'{{"a":{text},"b":"is: {text}"}}') == f'{{\n  "a": {expected},\n  "b": "is: {text}"\n}}'
    assert spelled(expected) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"b":0,"2":1,"10":2,"1":3}', '{"1":3,"2":1,"10":2,"b":0}'),
        ('{"4294967295":0,"4294967294":1}', '{"4294967294":1,"4294967295":0}'),
        ('{"b":0,"01":1,"-1":2,"1.0":3,"":4}', '{"b":0,"01":1,"-1":2,"1.0":3,"":4}'),
        ('{"a":1,"b":2,"a":3}', '{"a":3,"b":2}'),
        ('{"a":{"x":1},"b":2,"a":{"y":[{"1":1,"0":2}]}}', '{"a":{"y":[{"0":2,"1":1}]},"b":2}'),
        ('{"__proto__":1,"b":2,"__proto__":{"c":3}}', '{"__proto__":{"c":3},"b":2}'),
        (r'{"a\"":1,"\": ":2,"a\u0022":3}', r'{"a\"":3,"\": ":2}'),
        ('[{"a":1},{"a":1},["a","a"],{"a":[{"a":1},{"a":2}]}]',) * 2,
    ],
)
def test_names_are_there_once_and_in_javascript_s_order(text, expected):
    assert spelled(text) == canonical(expected.encode()).decode()


def test_nested_text_is_spelled_in_place():
    entry = b'{\n      "a": 1.0,\n      "0": [\n        2.0\n      ],\n      "a": {}\n    }'
    expected = b'{\n      "0": [\n        2\n      ],\n      "a": {}\n    }'
    assert spell_as_javascript(entry) == expected


def test_outlines_of_any_length_are_judged():
    names = ",".join(f'"name {number}": {number}' for number in range(1000))
    text = spelled(f"{{{names}}}")
    assert spelled(text) == text
    assert json.loads(spelled(f'{{{names},"name 0":-1}}'))["name 0"] == -1


ODD_NUMBERS = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.integers(-(2**54), 2**54).map(str),
    st.sampled_from([number for number, _ in NUMBERS]),
).map(Number)
NAMES = st.one_of(
    st.sampled_from(
        ["a", "b", "c", "__proto__", "0", "1", "2", "10", "01", "-1", f"{2**32 - 2}", f"{2**32 - 1}"]
    ),
    STRINGS,
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), ODD_NUMBERS, STRINGS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(st.tuples(NAMES, inner), max_size=6).map(tuple)
    ),
    max_leaves=25,
)
TEXTS = st.builds(spell, VALUES, st.randoms(use_true_random=False))


@needs_node
@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_any_value_is_spelled_as_javascript_spells_it(stringify, text):
    written = spell_as_javascript(canonical(text.encode()))
    assert as_doubles(written).decode("utf-8") == stringify(text)
    assert spell_as_javascript(written) == written
    assert numbers_in(written.decode()) == numbers_in(slow(text))


def numbers_in(text: str) -> list[Decimal | str]:
    """Their values; the text of one whose exponent Decimal does not hold."""
    found: list[Decimal | str] = []

    def keep(number: str) -> None:
        is_zero = not number.lower().partition("e")[0].strip("-0.")
        found.append(Decimal(0) if is_zero else number if "9999999" in number else Decimal(number))

    json.loads(text, parse_int=keep, parse_float=keep)
    return found


def slow(text: str) -> str:
    """The text by Python's parser, with each number as it stands."""

    class Kept(float):
        def __new__(cls, number: str) -> Kept:
            kept = super().__new__(cls, 0.0)
            kept.text = number  # type: ignore[attr-defined]
            return kept

    def write(value: object) -> str:
        if isinstance(value, Kept):
            return str(value.text)  # type: ignore[attr-defined]
        if isinstance(value, dict):
            indices = sorted((name for name in value if is_index(name)), key=int)
            names = [*indices, *(name for name in value if not is_index(name))]
            return "{" + ",".join(f"{js_string(name)}:{write(value[name])}" for name in names) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(write, value)) + "]"
        return js_string(value) if isinstance(value, str) else json.dumps(value)

    return write(json.loads(text, parse_int=Kept, parse_float=Kept))


def is_index(name: str) -> bool:
    return name.isascii() and name.isdigit() and str(int(name)) == name and int(name) < 2**32 - 1


@needs_node
@settings(max_examples=150, deadline=None)
@given(one=TEXTS, other=TEXTS, seed=st.integers())
def test_texts_read_alike_where_javascript_writes_the_same_for_both(stringify, one, other, seed):
    assert reads_alike(one.encode(), other.encode()) == (stringify(one) == stringify(other))
    again = stringify(one)
    assert reads_alike(one.encode(), again.encode())
    assert reads_alike(again.encode(), f"\n{one}\t".encode())


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ('{"a":12345678901234567890}', '{"a":12345678901234567000}', True),
        ('{"a":1e400}', '{"a":null}', True),
        ('{"a":-0.0}', '{"a": 0}', True),
        ('{"a":1,"a":2}', '{"a":2}', True),
        ('{"b":1,"1":2}', '{"1":2,"b":1}', True),
        ('{"b":1,"a":2}', '{"a":2,"b":1}', False),
        (r'{"a":"\u00e9\/"}', '{"a":"é/"}', True),
        ('{"a":"1.0"}', '{"a":"1"}', False),
        ('{"a":9007199254740993}', '{"a":9007199254740994}', False),
        ("not JSON", "not JSON", True),
    ],
)
def test_reads_alike(one, other, alike):
    assert reads_alike(one.encode(), other.encode()) is alike
    assert reads_alike(other.encode(), one.encode()) is alike


@pytest.mark.parametrize("texts", [(b"{}", b"{"), (b"NaN", b"0"), (b'"\xff"', b'""')])
def test_invalid_json_is_an_error_unless_the_bytes_are_equal(texts):
    with pytest.raises(InvalidRunError):
        reads_alike(*texts)


@needs_node
@example(0.1 + 0.2)
@example(1e21)
@example(123456789012345680000.0)
@example(1e-6)
@example(1e-7)
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_written_as_javascript_writes_it(stringify, value):
    assert javascript_number(value) == stringify(repr(value))


@needs_node
def test_each_power_of_ten_and_its_neighbours(stringify):
    rng = random.Random(3)
    values = [math.ldexp(rng.uniform(0.5, 1), exponent) for exponent in range(-1073, 1024)]
    for power in range(-323, 309):
        value = float(f"1e{power}")
        values += [value, math.nextafter(value, 0), math.nextafter(value, math.inf)]
    values = [value for value in values if value not in (0, math.inf)]
    texts = [javascript_number(value) for value in values]
    assert list(map(float, texts)) == values
    assert canonical(f"[{','.join(texts)}]".encode()).decode() == stringify(
        f"[{','.join(map(repr, values))}]"
    )
