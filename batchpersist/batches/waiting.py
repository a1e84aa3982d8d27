"""Waiting for another batch on the same root to end."""

from __future__ import annotations

from collections.abc import Callable

from ..models import Event, Waiting


class Waiter:
    """Tells once that the batch waits, and gives up when it is to stop."""

    def __init__(self, seconds: float, watch: Callable[[Event], None], stop: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._watch = watch
        self._stop = stop
        self._told = False

    def __call__(self, holder: str) -> bool:
        if not self._told:
            self._watch(Waiting(holder, self._seconds))
            self._told = True
        return not self._stop()
