"""Frames of a Zstandard file, as far as their headers tell why one cannot be decompressed (RFC 8878).

The decompressor says so in words alone, which are another library's to change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""Behind a byte from 0x50 to 0x5f."""

LARGEST_WINDOW = 128 << 20
"""Bytes that a frame may look back: Zstandard's own limit where it is not told otherwise."""

_DICTIONARY_BYTES = (0, 1, 2, 4)
_CONTENT_BYTES = (0, 2, 4, 8)


class Frame(NamedTuple):
    """What a frame asks of whoever decompresses it."""

    window: int
    """Bytes."""
    dictionary: int
    """Its number; 0: none, or one that is not named."""


def frames(file: BinaryIO) -> Iterator[Frame]:
    """The headers of a file's frames, in order.

    Raises EOFError where the file ends within a frame, ValueError where something else than a frame begins.
    """
    while start := file.read(4):
        if start == MAGIC:
            frame, has_checksum = _header(file)
            yield frame
            _skip_blocks(file)
            _skip(file, 4 * has_checksum)
        elif len(start) < 4:
            raise EOFError
        elif start[1:] == _SKIPPABLE and 0x50 <= start[0] < 0x60:
            _skip(file, _number(file, 4))
        else:
            raise ValueError("no frame")


def _header(file: BinaryIO) -> tuple[Frame, bool]:
    flags = _number(file, 1)
    window = 0 if flags & 0x20 else _window(_number(file, 1))
    dictionary = _number(file, _DICTIONARY_BYTES[flags & 3])
    content_bytes = _CONTENT_BYTES[flags >> 6] or bool(flags & 0x20)
    content = _number(file, content_bytes)
    return Frame(window or content, dictionary), bool(flags & 4)


def _window(descriptor: int) -> int:
    base: int = 1 << 10 + (descriptor >> 3)
    return base + base // 8 * (descriptor & 7)


def _skip_blocks(file: BinaryIO) -> None:
    last = False
    while not last:
        header = _number(file, 3)
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        _skip(file, 1 if kind == 1 else size)  # a run of one byte


def _number(file: BinaryIO, size: int) -> int:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return int.from_bytes(data, "little")


def _skip(file: BinaryIO, size: int) -> None:
    if size and file.seek(size, os.SEEK_CUR) > os.fstat(file.fileno()).st_size:
        raise EOFError
