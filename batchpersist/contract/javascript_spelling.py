"""How JavaScript spells numbers and orders names in canonical text.

msgspec changes the layout and leaves numbers and names as they are. JavaScript reads a number
as a double and writes the shortest digits that give it back. An object's names that are array
indices come first, in ascending order, and of a repeated name the last value stays, at the
first one's place (docs/formats.md, "JSON fidelity").

Hardly any text has such a spelling. One regular expression finds odd numbers. Another cuts out
what text is without its values: names, closing brackets, and where lists hold numbers. Runs of
one program have few such outlines, so each outline is judged once.

Text that is nested in other text may be given with the indentation that it has there.
Source of the rules: ECMA-262, Number::toString and OrdinaryOwnPropertyKeys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

# A number that ends a line, as no string does. It is odd if it is tiny, minus zero, has zeros at
# its end, an exponent, or more than the 15 digits that every double holds.
_ODD = rb" (?=[-0-9])(-?0\.0{6}[0-9]+|-0|-?[0-9]+\.[0-9]*0|[-0-9.]{16,}|[-0-9.]+[eE][-+0-9]+)(?=,?(?:\n|\Z))"
_ODD_ANYWHERE = re.compile(_ODD)
_odd_of_member = re.compile(b":" + _ODD).search
"""The same in a third of the time, except for numbers in lists."""

_NAME = rb'"[^"\\]*(?:\\.[^"\\]*)*": '
_outline = re.compile(rb"\n *(?:%b|[-0-9\]}])" % _NAME).findall
_LINE = re.compile(rb"( *)(%b)?(.*?),?" % _NAME)
_INDEX = re.compile(rb'"(0|[1-9][0-9]{0,9})": ')
_LAST_INDEX = 2**32 - 2

_LONG_OUTLINE = 4096
"""From so many bytes on an outline is not remembered: it hardly comes again."""


def spell_as_javascript(text: bytes) -> bytes:
    """Canonical text as JavaScript writes what it reads from it, but for numbers that would lose digits.

    These keep their spelling: a double holds another value, or none.
    """
    outline = b"".join(_outline(text))
    judge = _judge if len(outline) > _LONG_OUTLINE else _judge_once
    judged = judge(outline)
    if judged.lists_numbers or _odd_of_member(text) or text[:1] not in b"{[":
        text = _spell_numbers(text, _without_loss)
    return text if judged.is_ordered else _reorder(text)


def as_doubles(text: bytes) -> bytes:
    """The same text, which ``spell_as_javascript`` gave, without that exception.

    A number is the nearest double then; one that is out of range is null.
    """
    return _spell_numbers(text, _nearest)


def are_alike(one: bytes, other: bytes) -> bool:
    """Whether JavaScript reads the same from two texts that ``spell_as_javascript`` gave."""
    return one == other or as_doubles(one) == as_doubles(other)


def javascript_number(value: float) -> str:
    """A finite float as JavaScript writes it: 1 for 1.0, 0.00001 for 1e-05, 1e-7 for 1e-07."""
    text = repr(value)  # the shortest digits that give the number back, as in JavaScript
    if "e" in text and 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(text), "f")
    text = text.removesuffix(".0").replace("e-0", "e-")
    return "0" if text == "-0" else text


def _spell_numbers(text: bytes, spell: Callable[[bytes], bytes]) -> bytes:
    if text[:1] not in b"{[":
        return _spell_numbers(b"[ %b" % text, spell)[2:]  # no space comes before a text that is a number
    return _ODD_ANYWHERE.sub(lambda found: b" " + spell(found[1]), text)


def _nearest(number: bytes) -> bytes:
    value = float(number)
    return b"null" if abs(value) == float("inf") else javascript_number(value).encode()


def _without_loss(number: bytes) -> bytes:
    nearest = _nearest(number)
    if nearest == b"null":
        return number
    if nearest == b"0":  # Decimal has its limits, for exponents
        is_same = not re.split(b"[eE]", number)[0].strip(b"-0.")
    else:
        is_same = Decimal(number.decode()) == Decimal(nearest.decode())
    return nearest if is_same else number


class _Outline(NamedTuple):
    is_ordered: bool
    """Each object has its names once, and in JavaScript's order."""
    lists_numbers: bool


def _judge(outline: bytes) -> _Outline:
    is_ordered, lists_numbers = True, False
    names: dict[int, list[bytes]] = {}
    """Of the objects that are open, by the width of their indentation."""
    for line in outline.split(b"\n")[1:]:
        item = line.lstrip(b" ")
        indentation = len(line) - len(item)
        if item.startswith(b'"'):
            names.setdefault(indentation, []).append(item)
        elif item in (b"}", b"]"):
            closed = names.pop(indentation + 2, [])
            is_ordered = is_ordered and closed == _in_order(dict.fromkeys(closed))
        else:
            lists_numbers = True
    return _Outline(is_ordered, lists_numbers)


_judge_once = lru_cache(maxsize=1024)(_judge)


def _in_order(names: Iterable[bytes]) -> list[bytes]:
    """Names as ``_NAME`` finds them, in the order that JavaScript gives an object's members."""
    names = list(names)
    indices = [name for name in names if _is_index(name)]
    if not indices:
        return names
    return sorted(indices, key=lambda name: int(name[1:-3])) + [n for n in names if not _is_index(n)]


def _is_index(name: bytes) -> bool:
    found = _INDEX.fullmatch(name)
    return found is not None and int(found[1]) <= _LAST_INDEX


def _reorder(text: bytes) -> bytes:
    """The text with the members of each object as JavaScript has them."""
    top: dict[bytes, bytes] = {}
    opened = [(b"", b"", b"", top)]
    """Of each container around a line: its name, what comes before its bracket, the bracket, its items."""
    for line in text.split(b"\n"):
        indentation, name, value = _LINE.fullmatch(line).groups(b"")  # type: ignore[union-attr]  # matches any
        items = opened[-1][3]
        if value in (b"{", b"["):
            opened.append((name, indentation + name, value, {}))
            continue
        if value in (b"}", b"]"):
            name, before, bracket, closed = opened.pop()
            inner = b",\n".join([closed[key] for key in _in_order(closed)])
            value, items = b"%b\n%b\n%b%b" % (bracket, inner, indentation, value), opened[-1][3]
        else:
            before = indentation + name
        items[name or b"%d" % len(items)] = before + value  # an item of a list has its number
    return top[b"0"]
