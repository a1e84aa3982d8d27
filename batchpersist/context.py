"""What every phase of a batch needs of its caller: whom to report events to, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from .errors import ScanStoppedError
from .events import Event

OnEvent = Callable[[Event], None]
ShouldStop = Callable[[], bool]


def ignore_event(_event: Event) -> None:
    """For a caller that does not want to hear of events."""


def never_stop() -> bool:
    """For a caller that never interrupts."""
    return False


class Deadline:
    """The end of a number of seconds, from its creation on; None: there is none."""

    def __init__(self, seconds: float | None = None) -> None:
        self._end = math.inf if seconds is None else monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        """Negative once it has passed; infinite where there is none."""
        return self._end - monotonic()

    @property
    def has_passed(self) -> bool:
        return self.seconds_left <= 0


NO_DEADLINE = Deadline()


class Checkpoint(Protocol):
    """What a long wait or copy calls again and again while it lasts, such as a ``RunContext``."""

    def check(self) -> None:
        """Return, or raise what ends the wait."""


@dataclass(frozen=True)
class RunContext:
    """Handed whole through scan, plan, persist and report; for the calling process alone.

    ``on_event`` is called in the calling thread. ``should_stop`` is asked before each new piece of work.
    """

    on_event: OnEvent = ignore_event
    should_stop: ShouldStop = never_stop
    deadline: Deadline = NO_DEADLINE

    @property
    def is_stopping(self) -> bool:
        """Whether no new work may begin: the caller asked to stop, or the deadline has passed."""
        return self.should_stop() or self.deadline.has_passed

    def check(self) -> None:
        """Raise ScanStoppedError where no new work may begin: ends a wait for what others decide."""
        if self.is_stopping:
            raise ScanStoppedError
