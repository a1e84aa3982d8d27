"""The catalogue's file: a header, tables as Arrow streams, and a checksum over all of it.

A cache that is torn, cut or damaged must not be believed in any part, and nothing depends on
its being there: so it is not synced, but checked.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from . import atomic
from .durability import SyncGroup

if TYPE_CHECKING:
    import pyarrow as pa

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
        data = file.read()
    body = memoryview(data)[: -_END.size]
    if len(data) < _END.size or _END.unpack(data[-_END.size :]) != (len(body), zlib.crc32(body)):
        raise CatalogueError("cut or damaged")
    header, _, _ = data[:4096].partition(b"\n")
    try:
        with pa.BufferReader(pa.py_buffer(body[len(header) + 1 :])) as reader:
            return header, [pa.ipc.open_stream(reader).read_all() for _ in range(tables)]
    except pa.ArrowException as error:
        raise CatalogueError("not a catalogue") from error


def stream(table: pa.Table) -> Sequence[bytes]:
    """A table as an Arrow stream, one batch for all of its rows."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return [sink.getvalue()]


def spool_stream(table: pa.Table, path: str) -> None:
    """The same into a file of its own; OSError."""
    import pyarrow as pa

    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def spooled_stream(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            yield block
