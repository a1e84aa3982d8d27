r"""The escapes of JSON strings, spelled as JavaScript's ``JSON.stringify`` spells them.

msgspec leaves every escape as it stands, and refuses the lone surrogates (``\ud800``)
that JavaScript strings may hold. So their backslash becomes a byte that valid UTF-8
never contains before msgspec sees the text, and a backslash again after it. The mark is
as long as what it stands for: positions in msgspec's errors remain true, and an escape
outside a string remains an error.

Source of the rules: ECMA-262, QuoteJSONString; https://github.com/tc39/proposal-well-formed-stringify.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

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
