"""Where a worker's time goes: seconds by phase, and the number of syncs.

Each thread that works on a shard has its own clock, so that nothing need be locked and shards
in several threads do not mix. The code that spends the time turns the clock, deep down;
outside of a shard it turns a clock that is never read. A turn of the clock takes 0.2 us.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

READ, PARSE, LOCK_WAIT, SNAPSHOT, MANIFEST, SYNC, OTHER = PHASES = (
    "read",
    "parse",
    "lock_wait",
    "snapshot",
    "manifest",
    "sync",
    "other",
)
"""docs/metrics.md says what each one is. Where one is within another, the time is the inner one's."""

NO_PHASE = ""
"""Time that does not count, or that other clocks count."""


class PhaseClock:
    """Counts the seconds of one thread's phases; in none of them at first."""

    __slots__ = ("_phase", "_seconds", "_since", "syncs")

    def __init__(self) -> None:
        self._seconds = dict.fromkeys((*PHASES, NO_PHASE), 0.0)
        self._phase = NO_PHASE
        self._since = perf_counter()
        self.syncs = 0
        """Calls of fsync and syncfs."""

    def turn(self, phase: str) -> str:
        """What comes now belongs to ``phase``; returns the phase that ends with this."""
        now = perf_counter()
        before = self._phase
        self._seconds[before] += now - self._since
        self._phase, self._since = phase, now
        return before

    def add(self, other: PhaseClock) -> None:
        """Take in what a clock that has been stopped counted."""
        for phase, seconds in other._seconds.items():
            self._seconds[phase] += seconds
        self.syncs += other.syncs

    def seconds(self) -> dict[str, float]:
        """By phase, up to the last turn."""
        return {phase: self._seconds[phase] for phase in PHASES}


_current: ContextVar[PhaseClock] = ContextVar("phase_clock", default=PhaseClock())  # noqa: B039  # never read
current = _current.get
"""The clock of the calling thread."""


@contextmanager
def running(clock: PhaseClock, phase: str = NO_PHASE) -> Iterator[None]:
    """Have ``clock`` count what the calling thread does in here."""
    token = _current.set(clock)
    clock.turn(phase)
    try:
        yield
    finally:
        clock.turn(NO_PHASE)
        _current.reset(token)


@contextmanager
def in_phase(phase: str) -> Iterator[None]:
    """What the calling thread does in here belongs to ``phase``."""
    clock = current()
    before = clock.turn(phase)
    try:
        yield
    finally:
        clock.turn(before)
