"""Signs of life: a few bytes that each worker shares with its parent: what it is at, and since when."""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

_RECORD = struct.Struct("=qd")
_IDLE = -1


class Beat(NamedTuple):
    """The last sign of life of a process at work."""

    pid: int
    row: int
    """Of the plan: the last one it began with."""
    moment: float
    """By ``time.monotonic()``, which is the same clock for all processes of a machine."""


class Heartbeat:
    """This process's own: a file of its pid, mapped into memory, so that a beat is no system call.

    One that cannot be made (a full disk), or has no folder, is silent: its process will never be taken for
    hanging.
    """

    def __init__(self, folder: str | None) -> None:
        self._memory: mmap.mmap | None = None
        self._row = _IDLE
        if folder is not None:
            with suppress(OSError):
                self._memory = _map(os.path.join(folder, str(os.getpid())))

    def beat(self, row: int) -> None:
        """Begin with a row."""
        self._row = row
        if self._memory is not None:
            _RECORD.pack_into(self._memory, 0, row, time.monotonic())

    def repeat(self) -> None:
        """The last row takes long, but not for ever."""
        self.beat(self._row)

    def rest(self) -> None:
        """There is nothing to do for now."""
        self.beat(_IDLE)


def _map(path: str) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Written, and not only made long: a hole that the disk cannot fill later would kill the process.
        os.write(descriptor, _RECORD.pack(_IDLE, 0.0))
        return mmap.mmap(descriptor, _RECORD.size)
    finally:
        os.close(descriptor)


@lru_cache(maxsize=1)
def heartbeat(folder: str | None) -> Heartbeat:
    """This process's, made at the first call."""
    return Heartbeat(folder)


def read_beats(folder: str, pids: Iterable[int]) -> Iterator[Beat]:
    """The last beats of those processes that are at work, or were when they died."""
    for pid in pids:
        try:
            with open(os.path.join(folder, str(pid)), "rb") as file:
                row, moment = _RECORD.unpack(file.read())
        except (OSError, struct.error):  # it has not begun yet
            continue
        if row != _IDLE:
            yield Beat(pid, row, moment)
