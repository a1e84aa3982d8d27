"""The spool: a copy of what cannot be read by position, made once while it is scanned."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator


class Spool:
    """A file of one part's documents, in the order read. A context manager that closes it.

    The file is made when something is first added; it is for its owner alone to read, as the
    source may be. What is added is in the file when the call returns; OSError where it
    cannot be. Removing it is up to the batch.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        self._descriptor: int | None = None

    def add(self, data: bytes) -> int:
        """Append; returns the offset at which ``data`` begins."""
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self.path, flags, 0o600)
        start = self.size
        rest = memoryview(data)
        while rest:
            written = os.write(self._descriptor, rest)
            rest = rest[written:]
            self.size += written
        return start

    def pass_on(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Add each block on its way to the reader."""
        for block in blocks:
            self.add(block)
            yield block

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
