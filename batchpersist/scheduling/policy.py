"""When a batch ends early: how many failures its operator is ready to see, and how much time there is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ..errors import UsageError

NO_LIMIT = "none"


@dataclass(frozen=True)
class FailurePolicy:
    """Stop taking new work once more than ``limit`` runs have failed or were invalid."""

    limit: float | None = None
    """None: never stop."""
    percent: bool = False
    """``limit`` is a percentage of the runs discovered."""

    @classmethod
    def parse(cls, text: str) -> FailurePolicy:
        """From ``N``, ``N%`` or ``none``; raises UsageError on anything else."""
        if text == NO_LIMIT:
            return cls()
        number = text.removesuffix("%")
        percent = number != text
        try:
            limit = float(number) if percent else int(number)
        except ValueError:
            limit = -1
        if not (0 <= limit <= 100 if percent else limit >= 0):
            raise UsageError(f"expected a number of runs or a percentage such as 5%, not {text!r}")
        return cls(limit, percent)

    def exceeded(self, failures: int, discovered: int) -> bool:
        """Whether ``failures``, of so many runs in the sources, are more than may be."""
        if self.limit is None:
            return False
        return failures > (self.limit * discovered / 100 if self.percent else self.limit)

    def __str__(self) -> str:
        return NO_LIMIT if self.limit is None else f"{self.limit:g}{'%' if self.percent else ''}"


@dataclass(frozen=True)
class Deadline:
    """How long a batch may take new work, from now on."""

    seconds: float | None = None
    """None: for ever."""
    _began: float = field(default_factory=time.monotonic)

    @property
    def passed(self) -> bool:
        return self.seconds is not None and time.monotonic() - self._began >= self.seconds
