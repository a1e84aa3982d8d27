"""Text from elsewhere (names of files, ids, causes), in the one form in which it is shown and kept."""

from __future__ import annotations

import re
from typing import Any

_LONE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\x([89a-f][0-9a-f])")

# Controls, line separators, what changes the direction of text or is invisible, and what no text may hold.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb"
    "\ufffe\uffff\U000e0000-\U000e007f]"
)


def encodable(text: str) -> str:
    """Text that every encoding of Unicode can hold; a byte of a file name that is not UTF-8 is ``\\xff``.

    Python decodes such a byte to a lone surrogate, and raises UnicodeEncodeError where that is written.
    """
    return _LONE.sub(_escape_surrogate, text)


def _escape_surrogate(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def to_file_name(text: str) -> str:
    """The file name of which ``encodable`` made this text, if it was one that is not UTF-8."""
    return _ESCAPED.sub(lambda byte: chr(0xDC00 + int(byte[1], 16)), text)


def encodable_document(value: Any) -> Any:
    """A document for JSON, all of whose strings are ``encodable``, the keys of its objects, too."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {encodable_document(key): encodable_document(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encodable_document(item) for item in value]
    return value


def printable(text: str) -> str:
    """``encodable`` text, with escapes for what would steer a terminal, turn text round, or be no XML."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), encodable(text))
