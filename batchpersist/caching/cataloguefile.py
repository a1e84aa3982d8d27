"""The catalogue's file: a header, tables as Arrow streams, and a checksum over all of it.

A cache that is torn, cut or damaged must not be believed in any part, and nothing depends on
its being there: so it is not synced, but checked.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from ..files.blocks import FileBytes, read_blocks

if TYPE_CHECKING:
    import pyarrow as pa

_END = struct.Struct("<QI")
"""The bytes before it, and their checksum."""


class CatalogueError(Exception):
    """Not a catalogue, or no longer as it was written."""


class CatalogueWriter:
    """A catalogue under way, in a file of its own: tables one after the other, each batch by batch.

    Every call but ``discard`` may raise OSError.
    """

    def __init__(self, path: str, header: bytes) -> None:
        """``path``: of the new file. ``header``: one line, without its end."""
        import pyarrow as pa

        self._path = path
        self._file = _SummedFile(path)
        self._sink = pa.PythonFile(self._file, "w")
        self._table: pa.RecordBatchStreamWriter | None = None
        self._file.write(header + b"\n")

    def write(self, batch: pa.RecordBatch) -> None:
        """Add to the table; the first batch begins it."""
        import pyarrow as pa

        if self._table is None:
            self._table = pa.ipc.new_stream(self._sink, batch.schema)
        self._table.write_batch(batch)

    def end_table(self) -> None:
        """What is written next begins another one."""
        if self._table is not None:
            self._table.close()
            self._table = None

    def publish(self, target: str) -> None:
        """Replace what is at ``target``, on the same file system; its folder is made."""
        self._file.write(_END.pack(self._file.size, self._file.checksum))
        self._file.close()
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(self._path, target)

    def discard(self) -> None:
        """Remove the file, unless it has been published; never raises."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            os.unlink(self._path)


class _SummedFile(io.BufferedWriter):
    """A new file that only its owner can read; keeps account of what is written."""

    def __init__(self, path: str) -> None:
        super().__init__(io.FileIO(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)))
        self.size = self.checksum = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.size += len(view)
        self.checksum = zlib.crc32(view, self.checksum)
        return super().write(view)


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
    checksum, content = 0, FileBytes(file.fileno())
    for block in read_blocks(content, 0, size):
        checksum = zlib.crc32(block, checksum)
    if size < 0 or content.read(_END.size, size) != _END.pack(size, checksum):
        raise CatalogueError("cut or damaged")
