"""Streams that can be read once, from front to end: gzip, Zstandard and standard input."""

from __future__ import annotations

import gzip
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import IO, cast

from ..errors import SourceUnreadableError, unreadable_as
from .ndjson import BLOCK


def gzip_blocks(path: str) -> Iterator[bytes]:
    """The text of all members of a gzip file.

    All that can be decompressed comes before SourceUnreadableError is raised for the rest.
    """
    _check_not_empty(path)
    with gzip.open(path) as stream:
        try:
            # read1 hands out what it has before it meets the damage; read would lose it.
            while block := stream.read1(BLOCK):
                yield block
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(str(error)) from error


def zstd_blocks(path: str) -> Iterator[bytes]:
    """The text of all frames of a Zstandard file; raises as ``gzip_blocks`` does."""
    import pyarrow as pa

    def open_stream() -> IO[bytes]:
        stream: IO[bytes] = pa.CompressedInputStream(pa.OSFile(os.fsencode(path)), "zstd")
        return stream

    _check_not_empty(path)
    done = 0
    with open_stream() as stream:
        try:
            while block := stream.read(BLOCK):
                yield block
                done += len(block)
        except (pa.ArrowException, OSError) as error:
            damage = error
        else:
            return
    yield _rest(open_stream, done)
    with unreadable_as(_damaged):
        raise damage


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


def standard_input_blocks(_path: str) -> Iterator[bytes]:
    """What arrives, as it arrives."""
    while block := cast(BufferedReader, sys.stdin.buffer).read1(BLOCK):
        yield block


def _check_not_empty(path: str) -> None:
    """Both formats have a header even around nothing: an empty file is one cut short."""
    if os.stat(path).st_size == 0:
        raise SourceUnreadableError("the compressed file is empty")


def _damaged(reason: str) -> SourceUnreadableError:
    return SourceUnreadableError("the compressed file is damaged or cut short", reason)
