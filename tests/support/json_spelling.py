"""JSON in random spellings, and a slow and obvious formatter to compare with."""

from __future__ import annotations

import json
import random
import re

from hypothesis import strategies as st
from support.model import is_index, js_number

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^][{}:,"\s]+')


def reference(text: str) -> str:
    """The text of JSON.stringify(JSON.parse(text), null, 2), except for numbers that would lose digits."""
    tokens = TOKEN.findall(text)
    tokens.reverse()
    return _value(tokens, "\n")


def _value(tokens: list[str], newline: str) -> str:
    token = tokens.pop()
    if token == "[":
        return "[" + _items(tokens, "]", newline)
    if token == "{":
        return "{" + _items(tokens, "}", newline)
    if token[0] == '"':
        return js_string(json.loads(token))
    return js_number(token) if token[0] in "-0123456789" else token


def _items(tokens: list[str], end: str, newline: str) -> str:
    if tokens[-1] == end:
        return tokens.pop()
    items: dict[str | int, str] = {}
    while True:
        name: str | int = len(items)
        item = newline + "  "
        if end == "}":
            name = json.loads(tokens.pop())
            item += js_string(str(name)) + ": "
            assert tokens.pop() == ":"
        items[name] = item + _value(tokens, newline + "  ")
        if tokens.pop() == end:
            indices = sorted((name for name in items if is_index(str(name))), key=int)
            items = {name: items[name] for name in indices} | items
            return ",".join(items.values()) + newline + end


def js_string(value: str) -> str:
    """ECMA-262, QuoteJSONString."""
    short = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    written = []
    for character in value:
        code = ord(character)
        if character in short:
            written.append(short[character])
        elif code < 0x20 or 0xD800 <= code <= 0xDFFF:
            written.append(f"\\u{code:04x}")
        else:
            written.append(character)
    return '"' + "".join(written) + '"'


class Number(str):
    """A number in one of its spellings."""

    __slots__ = ()


NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,9})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.sampled_from(["-0", "1.0", "1e400", "-1E-400", "9007199254740993", "0.1e+05", "9" * 400]),
).map(Number)
STRINGS = st.one_of(
    st.text(st.characters(codec=None), max_size=8),
    st.text(
        st.sampled_from('\\"/\b\n\x00\x1f\x7f\xe9\u2028\ud800\udbff\udc00\udfff\U0001f600u00d8[]{},: '),
        max_size=12,
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, STRINGS),
    # Objects are lists of pairs: keys may repeat.
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(st.tuples(STRINGS, inner), max_size=4).map(tuple)
    ),
    max_leaves=20,
)


def spell(value: object, rng: random.Random) -> str:
    """Valid JSON text of ``value`` with white space and escapes at random."""

    def space() -> str:
        return "".join(rng.choices(" \t\r\n", k=rng.choice((0, 0, 0, 1, 2))))

    def around(text: str) -> str:
        return space() + text + space()

    if isinstance(value, Number):
        return around(value)
    if isinstance(value, str):
        return around(spell_string(value, rng))
    if isinstance(value, list):
        return around("[" + (",".join(spell(item, rng) for item in value) or space()) + "]")
    if isinstance(value, tuple):
        pairs = (around(spell_string(key, rng)) + ":" + spell(item, rng) for key, item in value)
        return around("{" + (",".join(pairs) or space()) + "}")
    return around(json.dumps(value))


def spell_string(value: str, rng: random.Random) -> str:
    return '"' + "".join(_spell_character(character, rng) for character in value) + '"'


def _spell_character(character: str, rng: random.Random) -> str:
    code = ord(character)
    escaped = "".join(
        rng.choice((str.upper, str.lower))(f"{unit:04x}").join(("\\u", ""))
        for unit in memoryview(character.encode("utf-16-le", "surrogatepass")).cast("H")
    )
    spellings = [escaped]
    if character in '\b\t\n\f\r"\\/':
        spellings.append("\\" + dict(zip("\b\t\n\f\r", "btnfr", strict=True)).get(character, character))
    if code >= 0x20 and character not in '"\\' and not 0xD800 <= code <= 0xDFFF:
        spellings += [character] * 3
    return rng.choice(spellings)


DOCUMENTS = st.builds(spell, VALUES, st.randoms(use_true_random=False))
"""Valid JSON texts."""
