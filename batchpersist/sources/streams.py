"""Streams that can be read once, from front to end: compressed files and standard input."""

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
from typing import IO, Any, cast

from ..errors import SourceUnreadableError
from ..files.blocks import BLOCK
from . import content, zstdframes

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
    _check_start(path, content.GZIP)
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
    return _stream_blocks(path, content.XZ, decompressor, lzma.LZMAError)


def bzip2_blocks(path: str) -> Iterator[bytes]:
    """The text of all streams of a bzip2 file; raises as ``gzip_blocks`` does."""
    return _stream_blocks(path, content.BZIP2, _module("bz2").BZ2Decompressor, OSError)


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

    _check_start(path, content.ZSTD)
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
            for frame in zstdframes.frames(file):
                if frame.dictionary:
                    return SourceUnreadableError(
                        f"compressed with a dictionary; pipe it: zstd -dc -D DICTIONARY {_TO_RUN}",
                        f"dictionary {frame.dictionary}",
                    )
                if frame.window > zstdframes.LARGEST_WINDOW:
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
    content.check_size(found, expected)


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
        head = file.read(content.HEAD)
    if not head:
        raise SourceUnreadableError(EMPTY)
    content.check(expected, head)
    if len(head) < _SHORTEST:
        raise SourceUnreadableError(CUT_SHORT)


def _damaged(error: Exception) -> SourceUnreadableError:
    return SourceUnreadableError("the compressed file is damaged", str(error))
