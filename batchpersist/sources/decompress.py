"""Streams that can be read once, from front to end: compressed files and standard input.

The decompressor says so in words alone, which are another library's to change.
"""

from __future__ import annotations

import gzip
import os
import select
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from io import BufferedReader, UnsupportedOperation
from typing import IO, Any, BinaryIO, NamedTuple, cast

from ..errors import SourceUnreadableError
from ..storage.block_reader import BLOCK
from . import formats

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


_PADDING = b"\0"
"""May stand between the streams of an xz file."""

_XZ_MEMORY = 1 << 30
"""Bytes that a file may ask for to be decompressed; ``xz -9`` asks for 65 MiB."""

_TO_RUN = "FILE | batchpersist run -"

_SHORTEST = 9
"""Bytes that a compressed file has, at the least."""

_POLL_SECONDS = 0.1

CUT_SHORT = "the compressed file is cut short"
EMPTY = "the compressed file is empty"


def gzip_blocks(path: str) -> Iterator[bytes]:
    """The text of all members of a gzip file.

    All that can be decompressed comes before SourceUnreadableError is raised for the rest.
    """
    _check_start(path, formats.GZIP)
    with gzip.open(path) as stream:
        try:
            # read1 hands out what it has before it meets the damage; read would lose it.
            yield from iter(partial(stream.read1, BLOCK), b"")
        except EOFError as error:
            raise SourceUnreadableError(CUT_SHORT) from error
        except (zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(error) from error


def xz_blocks(path: str) -> Iterator[bytes]:
    """The text of all streams of an xz file; raises as ``gzip_blocks`` does."""
    lzma = _module("lzma")
    decompressor = partial(lzma.LZMADecompressor, memlimit=_XZ_MEMORY)
    return _stream_blocks(path, formats.XZ, decompressor, lzma.LZMAError)


def bzip2_blocks(path: str) -> Iterator[bytes]:
    """The text of all streams of a bzip2 file; raises as ``gzip_blocks`` does."""
    return _stream_blocks(path, formats.BZIP2, _module("bz2").BZ2Decompressor, OSError)


def _module(name: str) -> Any:
    """A module that some builds of Python lack."""
    try:
        return import_module(name)
    except ImportError:
        raise SourceUnreadableError(f"this Python is built without {name}; pipe the text into -") from None


def _stream_blocks(
    path: str, kind: str, decompressor: Callable[[], Any], damage: type[Exception]
) -> Iterator[bytes]:
    """Not by ``lzma.open`` or ``bz2.open``: these take a damaged second stream for the file's end."""
    _check_start(path, kind)
    with open(path, "rb") as file:
        data = file.read(BLOCK)
        while data:
            stream = decompressor()
            while not stream.eof:
                if stream.needs_input and not (data := data or file.read(BLOCK)):
                    raise SourceUnreadableError(CUT_SHORT)
                try:
                    block = stream.decompress(data, BLOCK)
                except damage as error:
                    raise _damaged(error) from error
                data = b""
                yield block
            data = (stream.unused_data or file.read(BLOCK)).lstrip(_PADDING)


def zstd_blocks(path: str) -> Iterator[bytes]:
    """The text of all frames of a Zstandard file; raises as ``gzip_blocks`` does."""
    import pyarrow as pa

    def open_stream() -> IO[bytes]:
        stream: IO[bytes] = pa.CompressedInputStream(pa.OSFile(os.fsencode(path)), "zstd")
        return stream

    _check_start(path, formats.ZSTD)
    done = 0
    with open_stream() as stream:
        try:
            while block := stream.read(BLOCK):
                yield block
                done += len(block)
        except OSError as error:
            damage = error
        else:
            return
    yield _rest(open_stream, done)
    raise damage if damage.errno else _zstd_failure(path, damage) from damage


def _zstd_failure(path: str, damage: OSError) -> SourceUnreadableError:
    """What keeps a Zstandard file from being decompressed, as its frames tell."""
    try:
        with open(path, "rb") as file:
            for frame in frames(file):
                if frame.dictionary:
                    return SourceUnreadableError(
                        f"compressed with a dictionary; pipe it: zstd -dc -D DICTIONARY {_TO_RUN}",
                        f"dictionary {frame.dictionary}",
                    )
                if frame.window > LARGEST_WINDOW:
                    return SourceUnreadableError(
                        f"compressed with a too long window; pipe it: zstd -dc --long=31 {_TO_RUN}",
                        f"{frame.window >> 20:,} MiB",
                    )
    except EOFError:
        return SourceUnreadableError(CUT_SHORT)
    except ValueError:
        pass
    return _damaged(damage)


def _rest(open_stream: Callable[[], IO[bytes]], done: int) -> bytes:
    """What a read that failed had decompressed before it met the damage, byte by byte."""
    import pyarrow as pa

    rest = bytearray()
    with open_stream() as stream:
        while done:
            done -= len(stream.read(min(done, BLOCK)))
        try:
            while byte := stream.read(1):
                rest += byte
        except (pa.ArrowException, OSError):
            pass
    return bytes(rest)


def standard_input_blocks(alive: Callable[[], None]) -> Iterator[bytes]:
    """What arrives, as it arrives. Raises SourceChangedError where it is a file that becomes shorter.

    ``alive`` is called again and again, while nothing arrives as well: what it raises ends the reading.
    """
    stream = cast(BufferedReader, sys.stdin.buffer)
    expected, found = _bytes_ahead(), 0
    while block := _next_block(stream, alive):
        found += len(block)
        yield block
    formats.check_size(found, expected)


def _next_block(stream: BufferedReader, alive: Callable[[], None]) -> bytes:
    """b"" at the end. Reading would be taken up again after a signal, whatever its handler does."""
    alive()
    with suppress(UnsupportedOperation):  # it is no file
        while not select.select([stream], [], [], _POLL_SECONDS)[0]:
            alive()
    return stream.read1(BLOCK)


def _bytes_ahead() -> int:
    """What is left of the file that standard input is read from; 0 where it is none."""
    try:
        status = os.fstat(sys.stdin.fileno())
        return status.st_size - sys.stdin.buffer.tell() if stat.S_ISREG(status.st_mode) else 0
    except (OSError, ValueError):  # another object in its place
        return 0


def _check_start(path: str, expected: str) -> None:
    """All formats have a header even around nothing: an empty file is one cut short."""
    with open(path, "rb") as file:
        head = file.read(formats.HEAD)
    if not head:
        raise SourceUnreadableError(EMPTY)
    formats.check(expected, head)
    if len(head) < _SHORTEST:
        raise SourceUnreadableError(CUT_SHORT)


def _damaged(error: Exception) -> SourceUnreadableError:
    return SourceUnreadableError("the compressed file is damaged", str(error))
