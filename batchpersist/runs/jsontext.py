"""The one text of a JSON value: that of JavaScript's ``JSON.stringify(value, null, 2)``.

Text is laid out anew without decoding it, so that numbers keep their spelling and
repeated keys stay (docs/formats.md, "JSON fidelity"; docs/decisions/0001-json-text.md).
Nothing here keeps state: everything may be called from several threads at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from ..errors import InvalidRunError
from ..limits import require_thread
from .jsonescapes import mark_lone_surrogates, needs_respelling, respell
from .spelling import as_doubles, javascript_number, spell_as_javascript

A = TypeVar("A")
T = TypeVar("T")

MAX_DEPTH = 512
"""How deep arrays and objects may be nested in one document."""

SPACE = b" \t\r\n"
"""What may stand between the tokens of JSON text."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Text that nests deeper indents a line by MAX_DEPTH levels, and on that line there is one
# more level or an empty container. It cannot be shorter than the indentation on the way down.
_TOO_DEEP = re.compile(rb"\n {%d}(?:  |.*(?:\[\]|\{\}),?$)" % (2 * MAX_DEPTH), re.MULTILINE)
_TOO_DEEP_LENGTH = MAX_DEPTH * (MAX_DEPTH + 1)

_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


REFUSALS = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises for text that it does not take. Which of them it is differs between its versions."""

# The last string of incomplete text lacks its closing quote.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*("|\\?\Z)|[\[\]{}]', re.DOTALL)

_STRING_OR_EXPONENT = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?e[-+]\d+')


def canonical(data: bytes) -> bytes:
    """The text of ``JSON.stringify(value, null, 2)`` for one JSON document in UTF-8.

    Numbers keep their spelling and objects all their keys in their order. Raises
    InvalidRunError where ``data`` is not valid JSON or nests deeper than MAX_DEPTH.
    """
    text = parse(data, _format)
    if len(text) > _TOO_DEEP_LENGTH and _TOO_DEEP.search(text):
        raise _too_deep()
    return respell(text) if needs_respelling(data) else text


def reads_alike(one: bytes, other: bytes) -> bool:
    """Whether JavaScript reads the same from two JSON documents in UTF-8, whatever their layout.

    That is whether ``JSON.stringify(JSON.parse(text))`` is the same for both: numbers compare as
    doubles, of repeated names the last value counts, and the order of names does count. Equal
    bytes are alike whatever they are; otherwise InvalidRunError is raised as by ``canonical``.
    """
    if one == other:
        return True
    return reading(one) == reading(other)


def reading(data: bytes) -> bytes:
    """A canonical text that is the same for all JSON documents that read alike in JavaScript.

    Raises InvalidRunError as ``canonical`` does.
    """
    return as_doubles(_as_javascript(data))


def _as_javascript(data: bytes) -> bytes:
    return spell_as_javascript(canonical(data))


def nest(text: bytes, levels: int) -> bytes:
    """Canonical text as it stands ``levels`` deep in another: all lines but the first indented."""
    return text.replace(b"\n", b"\n" + b"  " * levels)


def unnest(text: bytes, levels: int) -> bytes:
    """What ``nest`` was given."""
    return text.replace(b"\n" + b"  " * levels, b"\n")


def encode(value: object) -> bytes:
    """The canonical text of a Python object; a float keeps its point (``1.0``), as in text that has one.

    Raises InvalidRunError for what JSON cannot hold: NaN, infinities, objects of other
    types, circular references, more than MAX_DEPTH levels.
    """
    try:
        text = _with_enough_stack(_dumps, value)
    except (TypeError, ValueError) as error:
        raise InvalidRunError("not a JSON value", str(error)) from None
    if "e" in text:
        text = _STRING_OR_EXPONENT.sub(_respell_exponent, text)
    return canonical(text.encode("utf-8", "backslashreplace"))  # surrogates become their escapes


def _respell_exponent(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else javascript_number(float(found[0]))


def string(value: str) -> bytes:
    """The canonical text of one string."""
    return encode(value)


def parse(data: bytes, parser: Callable[[bytes], T]) -> T:
    """Give a JSON document to a function of msgspec, and raise what is wrong with it as InvalidRunError.

    Valid JSON that the function does not take is invalid, too. Where it refuses lone surrogates,
    it gets the text with these marked (see ``jsonescapes``).
    """
    if not data.isascii():
        try:
            data.decode()  # msgspec does not look into strings
        except UnicodeDecodeError as error:
            raise InvalidRunError("invalid UTF-8", f"byte {error.start}") from None
    try:
        return _with_enough_stack(parser, data)
    except REFUSALS as error:
        marked = mark_lone_surrogates(data)
        if marked is data:
            raise _not_json(data, str(error)) from None
    try:
        return _with_enough_stack(parser, marked)
    except REFUSALS as error:
        raise _not_json(data, str(error)) from None


def _format(data: bytes) -> bytes:
    return msgspec.json.format(data, indent=2)


def _with_enough_stack(function: Callable[[A], T], argument: A) -> T:
    """Call a function that recurses once a level of nesting, whatever stack the caller has left."""
    try:
        return function(argument)
    except RecursionError:
        pass
    require_thread()
    with ThreadPoolExecutor(max_workers=1) as pool:  # a thread begins with a stack of its own
        future = pool.submit(function, argument)
    try:
        return future.result()
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> InvalidRunError:
    return InvalidRunError(f"nested deeper than {MAX_DEPTH} levels")


def _not_json(data: bytes, reason: str) -> InvalidRunError:
    """Name the usual causes by themselves, so that they are told apart where errors are grouped."""
    if not data.strip(SPACE):
        return InvalidRunError("empty")
    if data.startswith(BYTE_ORDER_MARK):
        return InvalidRunError("begins with a byte order mark")
    if b"\0" in data:
        return InvalidRunError("NUL byte", f"byte {data.index(0)}")
    if _is_incomplete(data):
        return InvalidRunError("incomplete JSON", f"ends at byte {len(data)}")
    return InvalidRunError("not valid JSON", reason.removeprefix("JSON is malformed: "))


def _is_incomplete(data: bytes) -> bool:
    """Whether text ends within a string, a list or an object."""
    closing = []
    for token in _STRING_OR_BRACKET.finditer(data):
        bracket = token[0]
        if token[1] is not None:
            if token[1] != b'"':
                return True
        elif bracket in b"[{":
            closing.append(b"]" if bracket == b"[" else b"}")
        elif not closing or closing.pop() != bracket:
            return False
    return bool(closing)
