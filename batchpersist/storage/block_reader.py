"""Reads a file in blocks of one size."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Protocol

BLOCK = 256 << 10
"""Bytes of a read: enough to outweigh a system call, and within the processor's cache."""


class Readable(Protocol):
    """Bytes that can be read at any position."""

    def read(self, size: int, offset: int) -> bytes:
        """``size`` bytes from ``offset`` on; fewer only where they end."""


class FileBytes:
    """The bytes of an open file; whoever opened it closes it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def size(self) -> int:
        """Bytes that the file has now."""
        return os.fstat(self._descriptor).st_size


class MemoryBytes:
    """Bytes that are in memory already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, offset: int) -> bytes:
        return self._data[offset : offset + size]


def read_blocks(source: Readable, start: int = 0, stop: int = sys.maxsize) -> Iterator[bytes]:
    """The bytes ``start:stop``, at most ``BLOCK`` at a time; it ends early where the source does."""
    while start < stop and (block := source.read(min(BLOCK, stop - start), start)):
        yield block
        start += len(block)
