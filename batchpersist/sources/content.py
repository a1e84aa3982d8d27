"""What a source holds, told by its first bytes, where that is not what its name says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..errors import SourceChangedError, SourceUnreadableError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Of UTF-8; at the start of a text it means nothing."""

HEAD = 16
"""Bytes that are enough to tell."""


class _Kind(NamedTuple):
    name: str
    starts: tuple[bytes, ...]
    advice: str


_GZIP = _Kind("gzip data", (b"\x1f\x8b",), "name it .gz, or pipe it: zcat FILE | batchpersist run -")
_ZSTD = _Kind(
    "Zstandard data", (b"\x28\xb5\x2f\xfd",), "name it .zst, or pipe it: zstdcat FILE | batchpersist run -"
)
_XZ = _Kind("xz data", (b"\xfd7zXZ\0",), "name it .xz, or pipe it: xzcat FILE | batchpersist run -")
_BZIP2 = _Kind("bzip2 data", (b"BZh",), "name it .bz2, or pipe it: bzcat FILE | batchpersist run -")
_PARQUET = _Kind("a Parquet table", (b"PAR1",), "name it .parquet")
_ENCRYPTED = _Kind("an encrypted Parquet table", (b"PARE",), "decrypt it first")
_ARROW = _Kind("an Arrow table", (b"ARROW1",), "name it .arrow")
_ZIP = _Kind("a ZIP archive", (b"PK\x03\x04",), "unpack it first")
_UTF16 = _Kind(
    "UTF-16",
    (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff", b"{\0", b"[\0", b"\0{", b"\0[", b"\0\0\0{", b"\0\0\0["),
    "convert it: iconv -f UTF-16 -t UTF-8 FILE",
)
_TEXT = _Kind(
    "plain text", (b"{", b"[", b" ", b"\n", BYTE_ORDER_MARK), "name it without the suffix of its compression"
)
_KINDS = (_GZIP, _ZSTD, _XZ, _BZIP2, _PARQUET, _ENCRYPTED, _ARROW, _ZIP, _UTF16, _TEXT)
TEXT, GZIP, ZSTD, XZ, BZIP2, PARQUET, ARROW = (
    kind.name for kind in (_TEXT, _GZIP, _ZSTD, _XZ, _BZIP2, _PARQUET, _ARROW)
)
"""What can be expected."""


def check(expected: str, head: bytes) -> None:
    """Raises SourceUnreadableError where a source's first bytes are those of something else than expected."""
    if expected == TEXT and head.startswith(b'{"'):  # nearly all
        return
    for kind in _KINDS:
        if head.startswith(kind.starts):
            if kind.name != expected:
                raise SourceUnreadableError(f"{kind.name} where {expected} was expected; {kind.advice}")
            return


def is_text(head: bytes) -> bool:
    """Whether a source with these first bytes may be read as text."""
    try:
        check(TEXT, head)
    except SourceUnreadableError:
        return False
    return True


def checked_text(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks of a text without its byte order mark; raises as ``check`` does."""
    head = b""
    for block in blocks:
        head += block
        if len(head) >= HEAD:
            break
    check(TEXT, head)
    yield head.removeprefix(BYTE_ORDER_MARK)
    yield from blocks


def check_size(found: int, expected: int) -> None:
    """Raises SourceChangedError where a source ends before the bytes that it had when it was found."""
    if found < expected:
        raise SourceChangedError(
            "the source became shorter while it was read",
            f"it ends after {found:,} bytes, {expected:,} were expected",
        )
