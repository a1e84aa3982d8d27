"""How far a running batch is, for those that look at its folder (docs/batches.md)."""

from __future__ import annotations

import logging
import time
from typing import Literal

import msgspec

from ..events import Progress
from ..models import Durability
from ..storage import atomic_write

WRITE_SECONDS = 1.0
"""Between two states of the file: nobody who reads it sees more, and it costs next to nothing."""

SOONEST_RATE = 0.2
"""Seconds of a phase before which its rate says nothing."""

_log = logging.getLogger(__name__)


class ProgressRecord(msgspec.Struct, kw_only=True):
    """``progress.json``: the latest news of a batch. Moments are seconds since the epoch."""

    phase: Literal["scan", "compare", "settle"]
    done: int
    """Runs of this phase."""
    total: int | None
    """None while it is not known."""
    failed: int
    """Runs that failed or were invalid so far."""
    resumed: int = 0
    """Of ``done``: those that an earlier part of the batch had settled."""
    phase_started_at: float
    updated_at: float

    @property
    def runs_per_second(self) -> float:
        """Of this phase, by the clock of the batch; 0 where it is too early to tell."""
        seconds = self.updated_at - self.phase_started_at
        return (self.done - self.resumed) / seconds if seconds >= SOONEST_RATE else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Of this phase, if it goes on as it did; None where that cannot be told."""
        rate = self.runs_per_second
        return (self.total - self.done) / rate if self.total is not None and rate else None


class ProgressFile:
    """Keeps a batch's ``progress.json``, from its start on; for one thread.

    Each state is whole, at most one a second is written, and none is synced. What cannot be written
    is left, with a warning the first time: the batch goes on without.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._phase = ""
        self._started = self._latest = time.time()
        self._next = 0.0
        self._warned = False

    def note(self, event: Progress) -> None:
        """Write the news, unless the last ones are not a second old; a new phase is always news."""
        moment = time.monotonic()
        if event.phase != self._phase:  # it began when there was no more to tell of the one before
            self._phase, self._started = event.phase, self._latest
            self._next = moment
        self._latest = now = time.time()
        if moment < self._next:
            return
        self._next = moment + WRITE_SECONDS
        record = ProgressRecord(**event._asdict(), phase_started_at=self._started, updated_at=now)
        try:
            atomic_write.write(self._path, msgspec.json.encode(record), Durability.NONE)
        except OSError as error:
            if not self._warned:
                _log.warning("how far the batch is cannot be told: %s", error)
            self._warned = True


def read_progress(path: str) -> ProgressRecord | None:
    """None where there is none, or it cannot be read."""
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=ProgressRecord)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
