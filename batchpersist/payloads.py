"""Reading back what the index points to: the canonical text of one run at a time."""

from __future__ import annotations

import os
from collections import OrderedDict
from types import TracebackType

from .errors import SourceChangedError
from .models import Keys, RunRef
from .phaseclock import READ, current
from .runreader import RunReader

OPEN_FILES = 32
"""Descriptors kept open: a task's runs often lie in many nightly files, visited in turn."""


class PayloadReader:
    """Reads payloads by their place; for one thread. A context manager that closes its files."""

    def __init__(self, keys: Keys) -> None:
        self._read_run = RunReader(keys).read_canonical
        self._open: OrderedDict[str, int] = OrderedDict()

    def text(self, ref: RunRef) -> bytes:
        """The run's canonical text (docs/formats.md).

        Raises SourceChangedError where the bytes are no longer the run that was scanned,
        InvalidRunError where they are no run at all, OSError where they cannot be read.
        """
        clock = current()
        before = clock.turn(READ)
        try:
            data = self._bytes(ref)
        finally:
            clock.turn(before)
        found = self._read_run(data)
        if found is None or found[0] != ref[:3]:
            raise SourceChangedError("the source changed after it was scanned", ref.path)
        return found[1]

    def _bytes(self, ref: RunRef) -> bytes:
        descriptor = self._descriptor(ref.path)
        try:
            data = os.pread(descriptor, ref.length, ref.offset)
            while len(data) < ref.length:  # one read returns 2 GiB at most
                more = os.pread(descriptor, ref.length - len(data), ref.offset + len(data))
                if not more:
                    raise SourceChangedError("the source became shorter after it was scanned", ref.path)
                data += more
        except OSError as error:
            error.filename = ref.path  # a read knows its descriptor only
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
