"""Reading back what the index points to: the canonical text of one run at a time."""

from __future__ import annotations

import os
from collections import OrderedDict
from types import TracebackType

from ..errors import SourceChangedError
from ..models import Keys, RunKeys
from ..phaseclock import READ, current
from ..runs.runreader import RunReader

OPEN_FILES = 32
"""Descriptors kept open: a task's runs often lie in many nightly files, visited in turn."""


class PayloadReader:
    """Reads payloads by their place; for one thread. A context manager that closes its files."""

    def __init__(self, keys: Keys) -> None:
        self._read_run = RunReader(keys).read_canonical
        self._open: OrderedDict[str, int] = OrderedDict()

    def text(self, keys: RunKeys, path: str, offset: int, length: int) -> bytes:
        """The canonical text (docs/formats.md) of the run of these keys, whose bytes are at that place.

        Raises SourceChangedError where the bytes are no longer the run that was scanned,
        InvalidRunError where they are no run at all, OSError where they cannot be read.
        """
        clock = current()
        before = clock.turn(READ)
        try:
            data = self._bytes(path, offset, length)
        finally:
            clock.turn(before)
        found = self._read_run(data)
        if found is None or found[0] != keys:
            raise SourceChangedError("the source changed after it was scanned", path)
        return found[1]

    def _bytes(self, path: str, offset: int, length: int) -> bytes:
        descriptor = self._descriptor(path)
        try:
            data = os.pread(descriptor, length, offset)
            while len(data) < length:  # one read returns 2 GiB at most
                more = os.pread(descriptor, length - len(data), offset + len(data))
                if not more:
                    raise SourceChangedError("the source became shorter after it was scanned", path)
                data += more
        except OSError as error:
            error.filename = path  # a read knows its descriptor only
            raise
        return data

    def _descriptor(self, path: str) -> int:
        descriptor = self._open.get(path)
        if descriptor is None:
            if len(self._open) >= OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
            descriptor = self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return descriptor

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def __enter__(self) -> PayloadReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
