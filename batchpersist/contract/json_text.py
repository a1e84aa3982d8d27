r"""The one text of a JSON value: that of JavaScript's ``JSON.stringify(value, null, 2)``.

msgspec leaves every escape as it is, and refuses the lone surrogates (``\ud800``)
that JavaScript strings may hold. So their backslash becomes a byte that valid UTF-8
never contains before msgspec sees the text, and a backslash again after it. The mark is
as long as what it replaces: positions in msgspec's errors remain true, and an escape
outside a string remains an error.

Source of the rules: ECMA-262, QuoteJSONString; https://github.com/tc39/proposal-well-formed-stringify.

Text gets its layout without decoding it, then respelled where JavaScript spells it otherwise
(docs/formats.md, "JSON fidelity"; docs/decisions/0001-json-text.md, 0018-as-javascript.md).
Nothing here keeps state: everything may be called from several threads at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import TypeVar

import msgspec

from ..errors import InvalidRunError
from ..system_limits import require_thread
from .javascript_spelling import are_alike, as_doubles, spell_as_javascript

MARK = b"\xff"

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE = rb"\\(u[dD][89a-fA-F][0-9a-fA-F]{2})"
_RESPELLABLE = re.compile(rb"\\[u/]")
_MARKED = re.compile(MARK + rb"(u[0-9a-fA-F]{4})")

# Both walk over every escape, lest the second half of an escaped backslash be taken for
# the start of another escape.
_LONE_OR_OTHER = re.compile(_PAIR + rb"|" + _LONE + rb"|\\.", re.DOTALL)
_ESCAPE = re.compile(_PAIR + rb"|\\u[0-9a-fA-F]{4}|\\.")


def mark_lone_surrogates(data: bytes) -> bytes:
    """Replace the backslash of each lone surrogate's escape by MARK.

    ``data`` must be UTF-8, so that it holds no MARK of its own; it need not be JSON.
    """
    if not _SURROGATE.search(data):
        return data
    return _LONE_OR_OTHER.sub(_mark, data)


def _mark(match: re.Match[bytes]) -> bytes:
    return match[0] if match[1] is None else MARK + match[1]


def unmark(data: bytes) -> bytes:
    """What ``mark_lone_surrogates`` was given, or a part of it."""
    return data.replace(MARK, b"\\")


def needs_respelling(data: bytes) -> bool:
    """Whether some escape in JSON text may not be spelled as JSON.stringify spells it."""
    return b"\\" in data and _RESPELLABLE.search(data) is not None


def respell(text: bytes) -> bytes:
    r"""Spell the escapes of valid, marked JSON text as JSON.stringify does, and take the marks away.

    ``\u00e9`` becomes raw UTF-8, ``\/`` a slash, ``\u000A`` becomes ``\n``, ``\u001F`` becomes
    ``\u001f``, a surrogate pair its character, a lone surrogate ``\ud800`` in lower case.
    """
    text = _ESCAPE.sub(_respelled, text)
    return _MARKED.sub(_unmarked, text) if MARK in text else text


def _respelled(match: re.Match[bytes]) -> bytes:
    return _spelling(match[0])


@lru_cache(maxsize=4096)
def _spelling(escape: bytes) -> bytes:
    # Python's encoder and JSON.stringify agree on every character but lone surrogates,
    # which never come here.
    return json.dumps(json.loads(b'"%b"' % escape), ensure_ascii=False)[1:-1].encode()


def _unmarked(match: re.Match[bytes]) -> bytes:
    return b"\\" + match[1].lower()


A = TypeVar("A")
T = TypeVar("T")

MAX_DEPTH = 512
"""How deep arrays and objects may be nested in one run."""

SPACE = b" \t\r\n"
"""What may come between the tokens of JSON text."""

_SPACE = SPACE.decode()

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
"""The message of the error."""

_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

REFUSALS = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises for text that it does not take. Which of them it is differs between its versions."""

_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)

# The rest of incomplete text from its error on. A last escape, which Python calls an error even if it is
# whole, becomes a letter before: one that is right after a backslash, too.
_LAST_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{0,4}\Z")
_CUT_STRING = re.compile(r'"[^\x00-\x1f]*')
_CUT_VALUE = re.compile(r"-|t(?:ru?)?|f(?:al?s?)?|n(?:ul?)?")
_CUT_NUMBER = re.compile(r"-?\d+(?:\.|(?:\.\d+)?[eE][-+]?)")
_NUMBER = "+-.0123456789eE"


def canonical(data: bytes, *, around: int = 0) -> bytes:
    """The text of ``JSON.stringify(JSON.parse(data), null, 2)`` for one JSON document in UTF-8.

    Only numbers that would lose digits keep their spelling. Raises InvalidRunError where
    ``data`` is not valid JSON or nests deeper than MAX_DEPTH; ``around``: how many levels more
    there may be, as around the runs of a snapshot.
    """
    return spell_as_javascript(lay_out(data, around=around))


def lay_out(data: bytes, *, around: int = 0) -> bytes:
    """The same, while numbers keep their spelling and objects all their members in their order."""
    text = parse(data, _format)
    if _is_deeper(text, MAX_DEPTH + around):
        raise InvalidRunError(TOO_DEEP)
    return respell(text) if needs_respelling(data) else text


def _is_deeper(text: bytes, levels: int) -> bool:
    # Text that nests deeper indents a line by so many levels, and on that line there is one more
    # level or an empty container. It cannot be shorter than the indentation on the way down.
    return len(text) > levels * (levels + 1) and _deeper_than(levels).search(text) is not None


@cache
def _deeper_than(levels: int) -> re.Pattern[bytes]:
    return re.compile(rb"\n {%d}(?:  |.*(?:\[\]|\{\}),?$)" % (2 * levels), re.MULTILINE)


def shallow(data: bytes) -> bytes:
    """A document without what its lists and objects hold that are items of its own; never raises."""
    kept, depth, start = [], 0, 0
    for token in _STRING_OR_BRACKET.finditer(data):
        if token[0] in (b"[", b"{"):
            depth += 1
            if depth == 2:
                kept.append(data[start : token.end()])
        elif token[0] in (b"]", b"}"):
            depth -= 1
            if depth == 1:
                start = token.start()
    return b"".join(kept) + data[start:]


def reads_alike(one: bytes, other: bytes) -> bool:
    """Whether JavaScript reads the same from two JSON documents in UTF-8, whatever their layout.

    That is whether ``JSON.stringify(JSON.parse(text))`` is the same for both: numbers compare as
    doubles, of repeated names the last value counts, and the order of names does count. Equal
    bytes are alike whatever they are; otherwise InvalidRunError is raised as by ``canonical``.
    """
    return one == other or reading(one) == reading(other)


def reading(data: bytes) -> bytes:
    """A canonical text that is the same for all JSON documents that read alike in JavaScript.

    Raises InvalidRunError as ``canonical`` does.
    """
    return as_doubles(canonical(data))


def holds(data: bytes, text: bytes) -> bool:
    """Whether a file's bytes are a canonical text, or as the orchestrator writes what it reads from that.

    That is with numbers rounded to doubles, while text that is laid out or spelled otherwise is another.
    """
    if data == text:
        return True
    try:
        return canonical(data) == data and are_alike(data, text)
    except InvalidRunError:
        return False


def nest(text: bytes, levels: int) -> bytes:
    """Canonical text as it is ``levels`` deep in another: all lines but the first indented."""
    return text.replace(b"\n", b"\n" + b"  " * levels)


def unnest(text: bytes, levels: int) -> bytes:
    """What ``nest`` was given."""
    return text.replace(b"\n" + b"  " * levels, b"\n")


def encode(value: object) -> bytes:
    """The canonical text of a Python object.

    Raises InvalidRunError for what JSON cannot hold: NaN, infinities, objects of other
    types, circular references, more than MAX_DEPTH levels.
    """
    try:
        text = with_enough_stack(_dumps, value)
    except (TypeError, ValueError) as error:
        raise InvalidRunError("not a JSON value", str(error)) from None
    return canonical(text.encode("utf-8", "backslashreplace"))  # surrogates become their escapes


def string(value: str) -> bytes:
    """The canonical text of one string."""
    return encode(value)


def parse(data: bytes, parser: Callable[[bytes], T]) -> T:
    """Give a JSON document to a function of msgspec, and raise what is wrong with it as InvalidRunError.

    Valid JSON that the function does not take is invalid, too. Where it refuses lone surrogates,
    it gets the text with these marked (``mark_lone_surrogates``).
    """
    if not data.isascii():
        try:
            data.decode()  # msgspec does not check strings
        except UnicodeDecodeError as error:
            raise InvalidRunError("invalid UTF-8", f"byte {error.start}") from None
    try:
        return with_enough_stack(parser, data)
    except REFUSALS as error:
        marked = mark_lone_surrogates(data)
        if marked is data:
            raise _not_json(data, str(error)) from None
    try:
        return with_enough_stack(parser, marked)
    except REFUSALS as error:
        raise _not_json(data, str(error)) from None


def _format(data: bytes) -> bytes:
    return msgspec.json.format(data, indent=2)


def with_enough_stack(function: Callable[[A], T], argument: A) -> T:
    """Call a function that recurses once a level of nesting, whatever stack the caller has left.

    Raises InvalidRunError where no stack is enough.
    """
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
        raise InvalidRunError(TOO_DEEP) from None


def _not_json(data: bytes, reason: str) -> InvalidRunError:
    """Name the usual causes by themselves, so that groups of errors keep them apart."""
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
    """Whether text is a beginning of valid JSON."""
    whole = data.decode()
    text = _LAST_ESCAPE.sub("n", whole)
    error = _error_in(text)
    if error is None:
        return False
    rest = text[error:].lstrip(_SPACE)
    right = text[: len(text) - len(rest)]
    is_value_due = right.rstrip(_SPACE)[-1:] in ("", "[", "{", ":", ",")
    if text != whole or rest.startswith('"'):
        return is_value_due and _CUT_STRING.fullmatch(rest) is not None
    if not rest:
        return True
    if is_value_due:  # or a name, for which a number is an error at the same place
        return _CUT_VALUE.fullmatch(rest) is not None and _error_in(right + "0") != len(right)
    number = right[len(right.rstrip(_NUMBER)) :]
    return number != "" and _CUT_NUMBER.fullmatch(number + rest) is not None


def _error_in(text: str) -> int | None:
    """Where Python finds the error in text; None: nowhere, or somewhere."""
    try:
        json.loads(
            text, parse_constant=_refuse, parse_int=_forget, parse_float=_forget, object_pairs_hook=_forget
        )
    except json.JSONDecodeError as error:
        return error.pos
    except REFUSALS:
        pass
    return None


def _refuse(name: str) -> None:
    raise ValueError(name)


def _forget(_value: object) -> None:
    """Of a long text nothing need be held in memory."""
