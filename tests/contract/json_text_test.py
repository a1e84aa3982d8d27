from __future__ import annotations

import json
import math
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.json_spelling import DOCUMENTS, STRINGS, js_string, reference

from batchpersist.contract.json_text import MAX_DEPTH, canonical, encode, nest, parse, string
from batchpersist.errors import InvalidRunError

SPELLINGS = [
    (b"{}", b"{}"),
    (b" { } ", b"{}"),
    (b"[ \n]", b"[]"),
    (b'{"a":1,"b":[true,null]}', b'{\n  "a": 1,\n  "b": [\n    true,\n    null\n  ]\n}'),
    (b'{"a":1}\r\n', b'{\n  "a": 1\n}'),
    (b'{"a":1,"a":2}', b'{\n  "a": 2\n}'),
    (b'{"b":1,"1":2}', b'{\n  "1": 2,\n  "b": 1\n}'),
    (b"-0", b"0"),
    (b"1.0", b"1"),
    (b"1E+05", b"100000"),
    (b"1e400", b"1e400"),
    (b"123456789012345678901234567890", b"123456789012345678901234567890"),
    (rb'"\u00e9"', '"é"'.encode()),
    (rb'"\u00C9\u2028\u007f"', '"É\u2028\x7f"'.encode()),
    (rb'"\/"', b'"/"'),
    (rb'"\u0041"', b'"A"'),
    (rb'"\u000a\u000D\u0009\u0008\u000C"', rb'"\n\r\t\b\f"'),
    (rb'"\u0000\u001F\u000b"', rb'"\u0000\u001f\u000b"'),
    (rb'"\u0022\u005C\u002f"', rb'"\"\\/"'),
    (rb'"\uD83D\ude00"', '"😀"'.encode()),
    (rb'"\uD800"', rb'"\ud800"'),
    (rb'"\udFfFx\uDbFf"', rb'"\udfffx\udbff"'),
    (rb'"\uD800\uD83D\uDE00\uDE00"', '"\\ud800😀\\ude00"'.encode()),
    (rb'"\udc00\ud800"', rb'"\udc00\ud800"'),
    (rb'"\ud800\u0041\ud800\/\ud800\\"', rb'"\ud800A\ud800/\ud800\\"'),
    (rb'"\\ud800"', rb'"\\ud800"'),
    (rb'"\\\uD800"', rb'"\\\ud800"'),
    (rb'"\\\\uD800"', rb'"\\\\uD800"'),
    (rb'"\\u00e9 C:\\users\\/"', rb'"\\u00e9 C:\\users\\/"'),
    (rb'{"\ud800\u0061":"\n"}', b'{\n  "\\ud800a": "\\n"\n}'),
    ('"é任😀\x7f\u2028"'.encode(), '"é任😀\x7f\u2028"'.encode()),
]


@pytest.mark.parametrize(("data", "text"), SPELLINGS)
def test_canonical(data, text):
    assert canonical(data) == text
    assert canonical(text) == text


INVALID = [
    (b"", "empty", ""),
    (b" \r\n\t", "empty", ""),
    (b"\xef\xbb\xbf{}", "begins with a byte order mark", ""),
    (b'{"a":"\xff"}', "invalid UTF-8", "byte 6"),
    (b'["a", "\xed\xa0\x80"]', "invalid UTF-8", "byte 7"),
    (b'"\xc0\x80"', "invalid UTF-8", "byte 1"),
    (b'"\xf4\x90\x80\x80"', "invalid UTF-8", "byte 1"),
    (b'"caf\xc3', "invalid UTF-8", "byte 4"),
    (b"\xff\xfe{\x00}\x00", "invalid UTF-8", "byte 0"),
    (b'{"a":1}\x00', "NUL byte", "byte 7"),
    (b"\0" * 10, "NUL byte", "byte 0"),
    (b'{"a":1', "incomplete JSON", "ends at byte 6"),
    (b'"\\u00', "incomplete JSON", "ends at byte 5"),
    (b"{}{}", "not valid JSON", "trailing characters (byte 3)"),
    (b'{"a":NaN}', "not valid JSON", "invalid character (byte 5)"),
    (b"[Infinity]", "not valid JSON", "invalid character (byte 1)"),
    (b"-Infinity", "not valid JSON", "invalid character (byte 1)"),
    (b"[1,]", "not valid JSON", "trailing comma in array (byte 3)"),
    (b'"a\nb"', "not valid JSON", "invalid character (byte 2)"),
    (b"[\x7f]", "not valid JSON", "invalid character (byte 1)"),
    (b"['a']", "not valid JSON", "invalid character (byte 1)"),
    (b"[01]", "not valid JSON", "invalid number (byte 2)"),
    (b"[1.]", "not valid JSON", "invalid number (byte 3)"),
    (rb'"\x41"', "not valid JSON", "invalid escaped character (byte 2)"),
    # Escapes have no meaning outside strings.
    (rb"[\u0031]", "not valid JSON", "invalid character (byte 1)"),
    (rb"[\ud800]", "not valid JSON", "invalid character (byte 1)"),
    (rb'{"\ud800":1,\ud800"a":2}', "not valid JSON", "expected '\"' (byte 12)"),
    (rb'{"\ud800":\u005b]}', "not valid JSON", "invalid character (byte 10)"),
    ("\u00a01".encode(), "not valid JSON", "invalid character (byte 0)"),
    ("[\u20281]".encode(), "not valid JSON", "invalid character (byte 1)"),
]


@pytest.mark.parametrize(("data", "message", "detail"), INVALID)
def test_invalid(data, message, detail):
    with pytest.raises(InvalidRunError) as caught:
        canonical(data)
    assert (caught.value.message, caught.value.detail) == (message, detail)


@pytest.mark.parametrize(
    "refusal",
    [
        msgspec.DecodeError("JSON is malformed: trailing characters (byte 3)"),
        msgspec.ValidationError("Expected `str`, got `int`"),
        msgspec.MsgspecError("Input data was truncated"),
        UnicodeDecodeError("utf-8", b"", 0, 1, "invalid"),
        ValueError("reworded"),
    ],
)
@pytest.mark.parametrize(
    ("data", "message"), [(b'{"a":1', "incomplete JSON"), (rb'"\ud800" 1', "not valid JSON")]
)
def test_a_parser_s_class_and_wording_of_refusals_decide_nothing(refusal, data, message):
    def refuse_text(_data: bytes) -> None:
        raise refusal

    with pytest.raises(InvalidRunError) as caught:
        parse(data, refuse_text)
    assert caught.value.message == message


@pytest.mark.parametrize(
    "text",
    [
        r'{"a[": [1, "\"\u00e9\\", {"}": true}], "b": -1.5e+3}',
        r'"\"\u00e9]"',
        "[0.5, 12E-3, -0e1, null, false, [ -1",
    ],
)
def test_text_that_ends_before_its_end_is_incomplete(text):
    for length in range(1, len(text)):
        with pytest.raises(InvalidRunError) as caught:
            canonical(text[:length].encode())
        assert caught.value.message == "incomplete JSON"


@pytest.mark.parametrize(
    "data",
    [
        *(b'{"a":[1}', b"]", b"[}", b'{"a":1}]', b'["a" "b"]', b"{not JSON", b'{"a":NaN', b"[1,]"),
        *(b'{"a":1}t', b"[1 t", b"[01", b'["\\x41', b'{"a":1}{"b', b"[1 2", b'{"a"-', b'["a\nb', b"{1:"),
        *(
            b"{n",
            b"{tr",
            b'{"a":1,-',
            b'{"a":1, f',
            b"[\\",
            b'{"a":"x"\\u12',
            b'["a"\\',
            b"{\\",
            b'"\\u\\',
            b"[\\u",
        ),
        *(b"[1.5.", b"[1.5e3e", b"[1e5.", b"[1 .", b"[1 e", b"[true e", b"[\xc2\xa0", b"[1\xc2\xa0"),
    ],
)
def test_text_with_an_error_before_its_end_is_not_merely_incomplete(data):
    with pytest.raises(InvalidRunError) as caught:
        canonical(data)
    assert caught.value.message == "not valid JSON"


def same_values(one: bytes, other: bytes) -> bool:
    def loads(text: bytes) -> object:
        return json.loads(text, parse_int=Decimal, parse_float=Decimal)

    return loads(one) == loads(other)


@given(DOCUMENTS)
@example('"\\ud800\\udc00\\ud800"')
def test_any_spelling_gives_the_reference_text(text):
    data = text.encode()
    formatted = canonical(data)
    assert formatted == reference(text).encode()
    assert canonical(formatted) == formatted
    assert same_values(formatted, data)


def refuse(constant: str) -> None:
    raise ValueError(constant)


def python_accepts(data: bytes) -> bool:
    try:
        json.loads(data.decode(), parse_constant=refuse, parse_int=str, parse_float=str)
    except ValueError:
        return False
    return True


def canonical_accepts(data: bytes) -> bool:
    try:
        canonical(data)
    except InvalidRunError:
        return False
    return True


FRAGMENTS = [
    b"\\",
    b'"',
    b"\\u",
    b"\\ud8",
    b"\\udc00",
    b"u00",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"0",
    b"-",
    b".",
    b"e",
]
FRAGMENTS += [
    b"\x00",
    b"\x1f",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b" ",
    b"\n",
    b"\v",
    b"NaN",
]


def mutate(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 3)):
        start = rng.randint(0, len(data))
        end = min(len(data), start + rng.choice((0, 0, 1, 2)))
        data = data[:start] + rng.choice([b"", *FRAGMENTS]) + data[end:]
    return data


MUTANTS = st.builds(mutate, DOCUMENTS.map(str.encode), st.randoms(use_true_random=False))


@given(st.one_of(MUTANTS, st.lists(st.sampled_from(FRAGMENTS), max_size=8).map(b"".join)))
def test_valid_is_what_python_holds_for_valid(data):
    assert canonical_accepts(data) == python_accepts(data)


def test_random_damage_is_judged_as_python_judges_it():
    rng = random.Random(20)
    seeds = [data for data, _ in SPELLINGS] + [data for data, _, _ in INVALID]
    verdicts = set()
    for _ in range(20_000):
        data = mutate(rng.choice(seeds), rng)
        verdicts.add(python_accepts(data))
        assert canonical_accepts(data) == python_accepts(data), data
    assert verdicts == {True, False}


# Depth


def arrays(depth: int, inner: bytes = b"") -> bytes:
    return b"[" * depth + inner + b"]" * depth


def objects(depth: int, inner: bytes = b"{}") -> bytes:
    return b'{"a":' * (depth - 1) + inner + b"}" * (depth - 1)


DEEPEST = [
    arrays(MAX_DEPTH),
    arrays(MAX_DEPTH, b'1, "[]"'),
    arrays(MAX_DEPTH - 1, b'{"[]": "{}"}'),
    objects(MAX_DEPTH),
    objects(MAX_DEPTH, b'{"[]": "{}"}'),
    objects(MAX_DEPTH, b'[1, "{}"]'),
]
TOO_DEEP = [
    arrays(MAX_DEPTH + 1),
    arrays(MAX_DEPTH + 1, b"1"),
    arrays(MAX_DEPTH, b"1, {}, 2"),
    objects(MAX_DEPTH + 1),
    objects(MAX_DEPTH + 1, b"[1]"),
    objects(MAX_DEPTH, b'{"x": 1, "a": [], "b": 2}'),
    b'{"a": 1, "b": %b, "c": 2}' % arrays(MAX_DEPTH),
    arrays(980),
    arrays(1_000),
    arrays(100_000),
    objects(100_000),
]


def on_a_deep_stack(frames, function, *arguments):
    if frames > 0:
        return on_a_deep_stack(frames - 1, function, *arguments)
    return function(*arguments)


def frames_left() -> int:
    frame, used = sys._getframe(), 0
    while frame is not None:
        frame, used = frame.f_back, used + 1
    return sys.getrecursionlimit() - used


@pytest.mark.parametrize("data", DEEPEST, ids=range(len(DEEPEST)))
@pytest.mark.parametrize("spare", [10_000, 600, 300, 60])
def test_the_deepest_is_accepted_whatever_the_stack(data, spare):
    text = on_a_deep_stack(frames_left() - spare, canonical, data)
    assert json.loads(text) == json.loads(data)


@pytest.mark.parametrize("data", TOO_DEEP, ids=range(len(TOO_DEEP)))
@pytest.mark.parametrize("spare", [10_000, 600, 300, 60])
def test_deeper_is_refused_whatever_the_stack(data, spare):
    with pytest.raises(InvalidRunError, match=f"^nested deeper than {MAX_DEPTH} levels$"):
        on_a_deep_stack(frames_left() - spare, canonical, data)


def test_a_shallow_document_that_is_large_is_not_taken_for_a_deep_one():
    wide = b"[" + b",".join([arrays(100, b'"%b"' % (b" " * 2000))] * 30) + b"]"
    assert canonical(wide) == reference(wide.decode()).encode()
    flat = b'["' + b" " * 300_000 + b'[]"]'
    assert canonical(flat) == b'[\n  "' + b" " * 300_000 + b'[]"\n]'


# Threads


def test_from_several_threads_at_once():
    documents = [data for data, _ in SPELLINGS] * 50
    expected = [text for _, text in SPELLINGS] * 50
    start = threading.Barrier(4)

    def work(_):
        start.wait()
        return [canonical(data) for data in documents]

    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(work, range(4)))


# nest


@given(DOCUMENTS, st.integers(0, 3))
def test_nested_text_is_the_text_within_arrays(text, levels):
    nested = nest(canonical(text.encode()), levels)
    around = canonical(b"[" * levels + text.encode() + b"]" * levels)
    opening = b"".join(b"[\n" + b"  " * (level + 1) for level in range(levels))
    closing = b"".join(b"\n" + b"  " * level + b"]" for level in reversed(range(levels)))
    assert around == opening + nested + closing


# encode and string

ENCODED = [
    (None, b"null"),
    (
        {"b": 1, "a": [True, 1.5, "é"]},
        '{\n  "b": 1,\n  "a": [\n    true,\n    1.5,\n    "é"\n  ]\n}'.encode(),
    ),
    ({}, b"{}"),
    ((1, ()), b"[\n  1,\n  []\n]"),
    (10**30, b"1e+30"),
    (10**30 + 1, b"1000000000000000000000000000001"),
    (1.0, b"1"),
    ("\ud800", rb'"\ud800"'),
    ("\ud83d\ude00", '"😀"'.encode()),  # two code points in Python, one pair in JavaScript
    ("\\\udfff\x00\x7f\u2028/", b'"\\\\\\udfff\\u0000\x7f\xe2\x80\xa8/"'),
]


@pytest.mark.parametrize(("value", "text"), ENCODED, ids=range(len(ENCODED)))
def test_encode(value, text):
    assert encode(value) == text


def circle() -> list[object]:
    items: list[object] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        [-math.inf],
        {math.nan: 1},
        {1},
        b"bytes",
        {(1, 2): 3},
        object(),
        circle(),
        10**5000,
    ],
    ids=range(10),
)
def test_encode_refuses_what_json_cannot_hold(value):
    with pytest.raises(InvalidRunError, match=r"^not a JSON value: .+"):
        encode(value)


def lists(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize("spare", [10_000, 600, 300, 60])
def test_encode_keeps_the_depth_limit_whatever_the_stack(spare):
    frames = frames_left() - spare
    assert on_a_deep_stack(frames, encode, lists(MAX_DEPTH)) == canonical(arrays(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 5_000):
        with pytest.raises(InvalidRunError, match="nested deeper"):
            on_a_deep_stack(frames, encode, lists(depth))


@given(STRINGS)
def test_string(value):
    paired = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    assert string(value) == js_string(paired).encode()
    assert json.loads(string(value)) == paired


SPELLED = {
    1e-05: "0.00001",
    1.5e-07: "1.5e-7",
    1e16: "10000000000000000",
    1e21: "1e+21",
    1.0: "1",
    0.1: "0.1",
}


@pytest.mark.parametrize("value", SPELLED)
def test_floats_are_spelled_as_javascript_spells_them(value: float) -> None:
    lines = encode([value, {"1e-05": "2e-05"}]).split()
    assert lines == [b"[", SPELLED[value].encode() + b",", b"{", b'"1e-05":', b'"2e-05"', b"}", b"]"]
