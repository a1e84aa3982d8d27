"""Heartbeats of workers, and the watchdog that kills those that hang.

A worker notes which row of the plan it begins with, and when. So the parent also knows at which row a dead
worker was.
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
    """The last heartbeat of a process that is, or was, at work."""

    pid: int
    row: int
    """Of the plan: the last one that the process began with."""
    moment: float
    """Seconds of ``time.monotonic()``, which is one clock for all processes of a machine."""


class Heartbeat:
    """Writes the beats of this process to a file named by its pid, mapped so that a beat is no system call.

    Without a folder, or where the file cannot be made (a full disk), it is silent: nobody takes its process
    for hanging.
    """

    def __init__(self, folder: str | None) -> None:
        self._memory: mmap.mmap | None = None
        self._row = _IDLE
        if folder is not None:
            with suppress(OSError):
                self._memory = _map(os.path.join(folder, str(os.getpid())))

    def beat(self, row: int) -> None:
        """Say that the process begins with this row."""
        self._row = row
        if self._memory is not None:
            _RECORD.pack_into(self._memory, 0, row, time.monotonic())

    def check(self) -> None:
        """Say that the process is still at its row: it takes long, but does not hang."""
        self.beat(self._row)

    def rest(self) -> None:
        """Say that the process is idle."""
        self.beat(_IDLE)


def _map(path: str) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Written, not only extended: a hole that a full disk cannot fill later kills the process (SIGBUS).
        os.write(descriptor, _RECORD.pack(_IDLE, 0.0))
        return mmap.mmap(descriptor, _RECORD.size)
    finally:
        os.close(descriptor)


@lru_cache(maxsize=1)
def open_heartbeat(folder: str | None) -> Heartbeat:
    """The heartbeat of this process, made at the first call."""
    return Heartbeat(folder)


SILENT = Heartbeat(None)


def read_beats(folder: str, pids: Iterable[int]) -> Iterator[Beat]:
    """The last beat of each process that is at work, or was when it died; idle ones have none."""
    for pid in pids:
        try:
            with open(os.path.join(folder, str(pid)), "rb") as file:
                row, moment = _RECORD.unpack(file.read())
        except (OSError, struct.error):  # the process has not begun yet
            continue
        if row != _IDLE:
            yield Beat(pid, row, moment)


class Liveness:
    """For the parent: which workers hang, and at which rows they were, by the heartbeats in ``folder``.

    A worker hangs that shows no beat for ``timeout_seconds``; None: none ever does.
    """

    def __init__(self, folder: str, timeout_seconds: float | None) -> None:
        self._folder = folder
        self._timeout_seconds = timeout_seconds
        self._timed_out: set[int] = set()

    @property
    def poll_seconds(self) -> float | None:
        """How long to wait for workers until the next ``kill_hung``; None: without end."""
        return None if self._timeout_seconds is None else min(1.0, self._timeout_seconds / 4)

    def kill_hung(self, pids: Iterable[int]) -> None:
        """Kill those of these workers that have shown no beat for too long."""
        if self._timeout_seconds is None:
            return
        for beat in read_beats(self._folder, pids):
            silent = time.monotonic() - beat.moment
            if silent > self._timeout_seconds:
                _log.debug("worker %d is killed: no beat for %.1f s, at row %d", beat.pid, silent, beat.row)
                self._timed_out.add(beat.row)
                with suppress(ProcessLookupError):
                    os.kill(beat.pid, signal.SIGKILL)

    def last_rows(self, pids: Collection[int]) -> set[int]:
        """The rows of the plan at which dead workers were; each is returned once, and its file removed."""
        beats = list(read_beats(self._folder, pids))
        for beat in beats:
            _log.debug("worker %d ended at row %d", beat.pid, beat.row)
        for pid in pids:
            with suppress(OSError):
                os.unlink(os.path.join(self._folder, str(pid)))
        return {beat.row for beat in beats}

    def has_timed_out(self, rows: range) -> bool:
        """Whether a worker was killed because it hung at one of these rows."""
        return not self._timed_out.isdisjoint(rows)
