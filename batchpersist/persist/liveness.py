"""Heartbeats of workers, and the watchdog that kills those that hang.

A worker notes the row of the plan that it begins with, and when. So the parent knows which row a dead worker
was at, too.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
import struct
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

_RECORD = struct.Struct("=qd")
_IDLE = -1

_log = logging.getLogger(__name__)


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


class Liveness:
    """The parent's view on workers whose heartbeats are in ``folder``.

    ``timeout_seconds``: without a beat, after which a worker hangs; None: none ever does.
    """

    def __init__(self, folder: str, timeout_seconds: float | None) -> None:
        self._folder = folder
        self._timeout_seconds = timeout_seconds
        self._timed_out: set[int] = set()

    @property
    def poll_seconds(self) -> float | None:
        """How long to wait for workers before the next ``kill_hung``; None: for ever."""
        return None if self._timeout_seconds is None else min(1.0, self._timeout_seconds / 4)

    def kill_hung(self, pids: Iterable[int]) -> None:
        """Kill those of the workers that have given no sign of life for too long."""
        if self._timeout_seconds is None:
            return
        for beat in read_beats(self._folder, pids):
            silent = time.monotonic() - beat.moment
            if silent > self._timeout_seconds:
                _log.debug("worker %d is killed: it hangs at row %d for %.1f s", beat.pid, beat.row, silent)
                self._timed_out.add(beat.row)
                with suppress(ProcessLookupError):
                    os.kill(beat.pid, signal.SIGKILL)

    def last_rows(self, pids: Collection[int]) -> set[int]:
        """The rows of the plan at which dead workers were; each of them is returned once."""
        beats = list(read_beats(self._folder, pids))
        for beat in beats:
            _log.debug("worker %d died, or was ended, at row %d", beat.pid, beat.row)
        for pid in pids:
            with suppress(OSError):
                os.unlink(os.path.join(self._folder, str(pid)))
        return {beat.row for beat in beats}

    def timed_out(self, rows: range) -> bool:
        """Whether a worker was killed because of one of these rows."""
        return not self._timed_out.isdisjoint(rows)
