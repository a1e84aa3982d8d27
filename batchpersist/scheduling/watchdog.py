"""Watches the workers' signs of life: kills those that hang, and knows what the dead were at."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress

from ..settling.heartbeat import read_beats


class Watchdog:
    """For workers whose heartbeats are in ``folder``. ``timeout``: seconds without a beat; None: for ever."""

    def __init__(self, folder: str, timeout: float | None) -> None:
        self._folder = folder
        self._timeout = timeout
        self._timed_out: set[int] = set()

    @property
    def poll_seconds(self) -> float | None:
        """How long to wait for workers before the next ``look``; None: for ever."""
        return None if self._timeout is None else min(1.0, self._timeout / 4)

    def look(self) -> None:
        """Kill the workers that have given no sign of life for too long."""
        if self._timeout is None:
            return
        workers = [child.pid for child in multiprocessing.active_children() if child.pid]
        for beat in read_beats(self._folder, workers):
            if time.monotonic() - beat.moment > self._timeout:
                self._timed_out.add(beat.row)
                with suppress(ProcessLookupError):
                    os.kill(beat.pid, signal.SIGKILL)

    def last_rows(self, pids: Collection[int]) -> set[int]:
        """The rows of the plan at which dead workers were; each of them is told once."""
        rows = {beat.row for beat in read_beats(self._folder, pids)}
        for pid in pids:
            with suppress(OSError):
                os.unlink(os.path.join(self._folder, str(pid)))
        return rows

    def timed_out(self, row: int) -> bool:
        """Whether a worker was killed because of this row."""
        return row in self._timed_out
