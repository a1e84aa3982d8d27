"""The catalogue's file: a header, tables as Arrow streams, and a checksum over all of it.

A cache that is torn, cut or damaged must not be believed in any part, and nothing depends on
its being there: so it is not synced, but checked.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from ..files import atomic
from ..files.durability import SyncGroup

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 20

_END = struct.Struct("<QI")
"""The bytes before it, and their checksum."""


class CatalogueError(Exception):
    """Not a catalogue, or no longer as it was written."""


def write_file(path: str, header: bytes, streams: Iterable[Iterable[bytes]]) -> None:
    """Write a header (one line, without its end) and Arrow streams as one file, or nothing; OSError."""
    group = SyncGroup()
    atomic.commit(atomic.stage(path, _sealed(header, streams), group, mode=0o600), group)


def _sealed(header: bytes, streams: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    size = checksum = 0
    for chunks in ((header, b"\n"), *streams):
        for chunk in chunks:
            size += len(chunk)
            checksum = zlib.crc32(chunk, checksum)
            yield chunk
    yield _END.pack(size, checksum)


def read_file(path: str, tables: int) -> tuple[bytes, list[pa.Table]]:
    """The header and so many tables. Raises CatalogueError, and OSError where it cannot be read."""
    import pyarrow as pa

    with open(path, "rb") as file:
        _check(file)
        file.seek(0)
        header = file.readline()
        # Each table in memory of its own: the rows are let go of before the stamps are.
        try:
            with pa.PythonFile(file, "r") as source:
                return header, [pa.ipc.open_stream(source).read_all() for _ in range(tables)]
        except pa.ArrowException as error:
            raise CatalogueError("not a catalogue") from error


def _check(file: BinaryIO) -> None:
    """CatalogueError where it is not, byte for byte, what was written."""
    size = os.fstat(file.fileno()).st_size - _END.size
    checksum, left = 0, size
    while left > 0 and (block := file.read(min(left, _BLOCK))):
        checksum = zlib.crc32(block, checksum)
        left -= len(block)
    if size < 0 or file.read() != _END.pack(size, checksum):
        raise CatalogueError("cut or damaged")


class StreamFile:
    """A file of its own for an Arrow stream, batch by batch. Every call may raise OSError."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        import pyarrow as pa

        self._file = pa.OSFile(os.fsencode(path), "wb")
        self._writer = pa.ipc.new_stream(self._file, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()
        self._file.close()


def spool_stream(batches: Iterable[pa.RecordBatch], path: str) -> None:
    """Batches (one at least) as an Arrow stream in a file of its own; OSError."""
    rest = iter(batches)
    first = next(rest)
    with closing(StreamFile(path, first.schema)) as file:
        for batch in chain((first,), rest):
            file.write(batch)


def spooled_stream(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            yield block
