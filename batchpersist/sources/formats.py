"""The formats of sources: which suffixes are read, and first bytes that contradict a file's name.

Rotated files are named as logrotate names them (``a.jsonl.1``, ``a.jsonl-20260131``, ``a.jsonl.2.gz``), or as
loggers do that add a date with a time, or a number (``a.jsonl.2026-01-31.1``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from ..contract.json_text import BYTE_ORDER_MARK
from ..errors import SourceChangedError, SourceUnreadableError


class Format(Enum):
    """How a source is read."""

    JSON = auto()
    """One document, or a list of documents."""
    GZIP_JSON = auto()
    ZSTD_JSON = auto()
    XZ_JSON = auto()
    BZIP2_JSON = auto()
    COPIED_JSON = auto()
    """In the spool."""
    LINES = auto()
    GZIP_LINES = auto()
    ZSTD_LINES = auto()
    XZ_LINES = auto()
    BZIP2_LINES = auto()
    PARQUET = auto()
    ARROW = auto()
    STANDARD_INPUT = auto()
    COPIED_LINES = auto()
    """In the spool."""
    FOLDER = auto()
    """All that is below it, or some files in it."""
    TASK = auto()
    """A task's folder in a root of the orchestrator: its runs, or some of them."""

    __hash__ = object.__hash__
    """Members are unique. Enum's own hash is a Python call, for each look-up of a format."""

    @property
    def is_json(self) -> bool:
        """The text is one JSON value, to be read whole; otherwise it is lines."""
        return self in _JSON

    @property
    def is_copy(self) -> bool:
        """The source is a file in the spool."""
        return self in _COPIES

    @property
    def is_spooled(self) -> bool:
        """The source cannot be read by position, so its documents are copied into the spool."""
        return self in _SPOOLED

    @property
    def is_folder(self) -> bool:
        """The source is walked before anything is read."""
        return self in _FOLDERS


_COPIES = {Format.COPIED_JSON, Format.COPIED_LINES}
_FOLDERS = {Format.FOLDER, Format.TASK}
_SPOOLED = set(Format) - _COPIES - _FOLDERS - {Format.JSON, Format.LINES}
_JSON = {
    Format.JSON,
    Format.GZIP_JSON,
    Format.ZSTD_JSON,
    Format.XZ_JSON,
    Format.BZIP2_JSON,
    Format.COPIED_JSON,
}

_PLAIN = {
    ".json": Format.JSON,
    ".jsonl": Format.LINES,
    ".ndjson": Format.LINES,
    ".parquet": Format.PARQUET,
    ".arrow": Format.ARROW,
    ".feather": Format.ARROW,
}
_COMPRESSED = {
    ".gz": {Format.JSON: Format.GZIP_JSON, Format.LINES: Format.GZIP_LINES},
    ".zst": {Format.JSON: Format.ZSTD_JSON, Format.LINES: Format.ZSTD_LINES},
    ".xz": {Format.JSON: Format.XZ_JSON, Format.LINES: Format.XZ_LINES},
    ".bz2": {Format.JSON: Format.BZIP2_JSON, Format.LINES: Format.BZIP2_LINES},
}

READABLE = (
    ".json .jsonl .ndjson (also compressed: .gz .zst .xz .bz2, and rotated: .1 -20260131),"
    " .parquet .arrow .feather"
)
"""The suffixes, for a person."""

NO_SUFFIX = "(none)"

# Year and month are checked and numbers are short: other names that end in digits are likely temporary
# files of some program (``runs.json.48213``).
_ROTATION = re.compile(
    r"""
    (?P<date>
        [-._] (?:19|20)\d\d -? (?:0[1-9]|1[0-2])                    # 2026-01, 202601
        (?: -? (?:0[1-9]|[12]\d|3[01])                              # 2026-01-31, 20260131
            (?: [-_.T]? [0-2]\d (?: [-:.]? [0-5]\d ){0,2}           # its hour, minute and second
                (?: [.,] \d{3,9} )? (?: Z | [-+]\d\d:?\d\d )? )? )?
        (?: -1\d{9} )?                                              # seconds since 1970, %s to logrotate
        | -1\d{9}
    )?
    (?: \. (?P<number> \d{1,4} ) )? $
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_NOT_DIGITS = re.compile(r"\D")
_SUFFIX = re.compile(r"\.([a-z~][\w~]{0,11})[^.]*$", re.ASCII)


def format_of(name: str) -> Format | None:
    """The format that a file's name indicates, in any case of letters; None: it is not readable."""
    kind = _PLAIN.get(name[name.rfind(".") :])
    if kind is None:
        base, compression, _ = _parse(name)
        kind = _PLAIN.get(base[base.rfind(".") :].lower())
        if kind is not None and compression:
            return _COMPRESSED[compression].get(kind)
    return kind


def reading_order(name: str) -> str:
    """A sort key: names as text, but the rotated files of a log oldest first and before the log itself.

    A later version of a run is thus read after an earlier one. The highest number is the oldest, as logrotate
    counts; an earlier date is older. A file's compressed copy comes before the file.
    """
    if name[name.rfind(".") :] in _PLAIN:  # nearly all
        return f"{name}\2"
    base, compression, age = _parse(name)
    if not (age or compression) or base[base.rfind(".") :].lower() not in _PLAIN:
        return f"{name}\2"
    return f"{base}\1{age or '~'}{'' if compression else '~'}\0{name}"


def describe_suffix(name: str) -> str:
    """The suffix that names the kind of an unreadable file: ``.log`` for ``agent.log.1``."""
    base, compression, _ = _parse(name)
    found = _SUFFIX.search(base.lower())
    return f".{found[1]}{compression}" if found else compression or NO_SUFFIX


def _parse(name: str) -> tuple[str, str, str]:
    """A file's name before rotation and compression; the suffix of the compression; its age as text."""
    base, age = _split_rotation(name)
    compression = base[base.rfind(".") :].lower()
    if compression not in _COMPRESSED:
        return base, "", age
    base, inner = _split_rotation(base[: -len(compression)])
    return base, compression, inner or age


def _split_rotation(name: str) -> tuple[str, str]:
    """A name without what rotation added, and its age: as text, the oldest sorts first."""
    found = _ROTATION.search(name)
    if found is None or not found[0]:
        return name, ""
    date, number = _NOT_DIGITS.sub("", found["date"] or ""), int(found["number"] or 0)
    # Numbers behind a date count up, those alone count down.
    return name[: found.start()], f"{date}.{number:04}" if date else f"{9999 - number:04}"


HEAD = 16
"""Bytes that are enough to recognize a kind of data."""


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
"""What a reader can expect."""


def check_head(expected: str, head: bytes) -> None:
    """Raise SourceUnreadableError if a source begins like another kind of data than expected."""
    if expected == TEXT and head.startswith(b'{"'):  # nearly all
        return
    for kind in _KINDS:
        if head.startswith(kind.starts):
            if kind.name != expected:
                raise SourceUnreadableError(f"{kind.name} where {expected} was expected; {kind.advice}")
            return


def is_text(head: bytes) -> bool:
    """Whether a source with these first bytes can be read as text."""
    try:
        check_head(TEXT, head)
    except SourceUnreadableError:
        return False
    return True


def read_text(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks of a text without its byte order mark; raises like ``check_head``."""
    head = b""
    for block in blocks:
        head += block
        if len(head) >= HEAD:
            break
    check_head(TEXT, head)
    yield head.removeprefix(BYTE_ORDER_MARK)
    yield from blocks


def check_size(found: int, expected: int) -> None:
    """Raise SourceChangedError if a source has fewer bytes than when it was found."""
    if found < expected:
        raise SourceChangedError(
            "the source became shorter while it was read",
            f"it ends after {found:,} bytes, {expected:,} were expected",
        )
