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
from typing import IO, Any, BinaryIO, NamedTuple, cast

from ..context import Checkpoint
from ..errors import SourceUnreadableError
from ..storage.file_reader import BLOCK
from . import formats

STANDARD_INPUT = "-"
"""What a person calls it as a source."""

_PADDING = b"\0"
"""Allowed between the streams of an xz file."""

_XZ_MEMORY = 1 << 30
"""Bytes that decompressing a file may need; ``xz -9`` needs 65 MiB."""

_TO_RUN = "FILE | batchpersist run -"

_SHORTEST = 9
"""Bytes of the shortest compressed file."""

_POLL_SECONDS = 0.1

CUT_SHORT = "the compressed file is cut short"
EMPTY = "the compressed file is empty"


def gzip_blocks(path: str) -> Iterator[bytes]:
    """The text of all members of a gzip file.

    Yields all that can be decompressed, then raises SourceUnreadableError if the rest is damaged.
    """
    _check_start(path, formats.GZIP)
    with gzip.open(path) as stream:
        try:
            # read1 returns what it has before it meets the damage; read would lose it.
            yield from iter(partial(stream.read1, BLOCK), b"")
        except EOFError as error:
            raise SourceUnreadableError(CUT_SHORT) from error
        except (zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(error) from error


def xz_blocks(path: str) -> Iterator[bytes]:
    """The text of all streams of an xz file; raises like ``gzip_blocks``."""
    lzma = _import("lzma")
    decompressor = partial(lzma.LZMADecompressor, memlimit=_XZ_MEMORY)
    return _stream_blocks(path, formats.XZ, decompressor, lzma.LZMAError)


def bzip2_blocks(path: str) -> Iterator[bytes]:
    """The text of all streams of a bzip2 file; raises like ``gzip_blocks``."""
    return _stream_blocks(path, formats.BZIP2, _import("bz2").BZ2Decompressor, OSError)


def _import(name: str) -> Any:
    """A module that some builds of Python lack."""
    try:
        return import_module(name)
    except ImportError:
        raise SourceUnreadableError(f"this Python is built without {name}; pipe the text into -") from None


def _stream_blocks(
    path: str, kind: str, decompressor: Callable[[], Any], damage: type[Exception]
) -> Iterator[bytes]:
    """Without ``lzma.open`` and ``bz2.open``: they take a damaged second stream for the end of the file."""
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
    """The text of all frames of a Zstandard file; raises like ``gzip_blocks``."""
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
    yield _read_rest(open_stream, done)
    raise damage if damage.errno else _explain_zstd(path, damage) from damage


def _explain_zstd(path: str, damage: OSError) -> SourceUnreadableError:
    """Why a Zstandard file cannot be decompressed, according to its frames.

    The decompressor reports it as text only, which its library may change.
    """
    try:
        with open(path, "rb") as file:
            for frame in read_zstd_frames(file):
                if frame.dictionary:
                    return SourceUnreadableError(
                        f"compressed with a dictionary; pipe it: zstd -dc -D DICTIONARY {_TO_RUN}",
                        f"dictionary {frame.dictionary}",
                    )
                if frame.window > _LARGEST_WINDOW:
                    return SourceUnreadableError(
                        f"compressed with a too long window; pipe it: zstd -dc --long=31 {_TO_RUN}",
                        f"{frame.window >> 20:,} MiB",
                    )
    except EOFError:
        return SourceUnreadableError(CUT_SHORT)
    except ValueError:
        pass
    return _damaged(damage)


def _read_rest(open_stream: Callable[[], IO[bytes]], done: int) -> bytes:
    """What a failed read had decompressed before it met the damage; read byte by byte."""
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


_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""After a byte from 0x50 to 0x5f."""

_LARGEST_WINDOW = 128 << 20
"""Bytes that a frame may refer back: Zstandard's own limit unless an option raises it."""

_DICTIONARY_BYTES = (0, 1, 2, 4)
_CONTENT_BYTES = (0, 2, 4, 8)


class ZstdFrame(NamedTuple):
    """What a decompressor needs for a frame."""

    window: int
    """Bytes."""
    dictionary: int
    """Its number; 0: none, or it has no number."""


def read_zstd_frames(file: BinaryIO) -> Iterator[ZstdFrame]:
    """The headers of a file's frames, in order.

    Raises EOFError if the file ends within a frame, ValueError where no frame begins but should.
    """
    while start := file.read(4):
        if start == _ZSTD_MAGIC:
            frame, has_checksum = _read_header(file)
            yield frame
            _skip_blocks(file)
            _skip(file, 4 * has_checksum)
        elif len(start) < 4:
            raise EOFError
        elif start[1:] == _SKIPPABLE and 0x50 <= start[0] < 0x60:
            _skip(file, _read_number(file, 4))
        else:
            raise ValueError("no frame")


def _read_header(file: BinaryIO) -> tuple[ZstdFrame, bool]:
    flags = _read_number(file, 1)
    window = 0 if flags & 0x20 else _decode_window(_read_number(file, 1))
    dictionary = _read_number(file, _DICTIONARY_BYTES[flags & 3])
    content_bytes = _CONTENT_BYTES[flags >> 6] or bool(flags & 0x20)
    content = _read_number(file, content_bytes)
    return ZstdFrame(window or content, dictionary), bool(flags & 4)


def _decode_window(descriptor: int) -> int:
    base: int = 1 << 10 + (descriptor >> 3)
    return base + base // 8 * (descriptor & 7)


def _skip_blocks(file: BinaryIO) -> None:
    last = False
    while not last:
        header = _read_number(file, 3)
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        _skip(file, 1 if kind == 1 else size)  # a run of one byte


def _read_number(file: BinaryIO, size: int) -> int:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return int.from_bytes(data, "little")


def _skip(file: BinaryIO, size: int) -> None:
    if size and file.seek(size, os.SEEK_CUR) > os.fstat(file.fileno()).st_size:
        raise EOFError


def standard_input_blocks(checkpoint: Checkpoint) -> Iterator[bytes]:
    """What arrives, as it arrives. Raises SourceChangedError if it is a file that becomes shorter.

    ``checkpoint`` is checked again and again, also while nothing arrives; what it raises ends the reading.
    """
    stream = cast(BufferedReader, sys.stdin.buffer)
    expected, found = _bytes_ahead(), 0
    while block := _next_block(stream, checkpoint):
        found += len(block)
        yield block
    formats.check_size(found, expected)


def _next_block(stream: BufferedReader, checkpoint: Checkpoint) -> bytes:
    """b"" at the end. Waits by polling: Python resumes an interrupted read after each signal handler."""
    checkpoint.check()
    with suppress(UnsupportedOperation):  # not a file
        while not select.select([stream], [], [], _POLL_SECONDS)[0]:
            checkpoint.check()
    return stream.read1(BLOCK)


def _bytes_ahead() -> int:
    """Unread bytes of the file that standard input is; 0 if it is not a file."""
    try:
        status = os.fstat(sys.stdin.fileno())
        return status.st_size - sys.stdin.buffer.tell() if stat.S_ISREG(status.st_mode) else 0
    except (OSError, ValueError):  # another object in its place
        return 0


def _check_start(path: str, expected: str) -> None:
    """All formats have a header even without content: an empty file was cut short."""
    with open(path, "rb") as file:
        head = file.read(formats.HEAD)
    if not head:
        raise SourceUnreadableError(EMPTY)
    formats.check_head(expected, head)
    if len(head) < _SHORTEST:
        raise SourceUnreadableError(CUT_SHORT)


def _damaged(error: Exception) -> SourceUnreadableError:
    return SourceUnreadableError("the compressed file is damaged", str(error))
