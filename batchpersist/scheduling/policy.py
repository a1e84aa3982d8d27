"""How much time there is until a batch has to end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Deadline:
    """How long a batch may take new work, from now on."""

    seconds: float | None = None
    """None: for ever."""
    _began: float = field(default_factory=time.monotonic)

    @property
    def passed(self) -> bool:
        return self.seconds is not None and time.monotonic() - self._began >= self.seconds
