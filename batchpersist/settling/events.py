"""A small event bus, so that what completes a run need not know what persists it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

RUN_COMPLETED = "run:completed"
"""Its payload is a RunSummary (docs/formats.md)."""

Handler = Callable[[Any], object]

_log = logging.getLogger("batchpersist.settling.events")


class EventBus:
    """Calls the handlers of an event in the order in which they subscribed, in the emitting thread.

    Usable from several threads at once. A handler that subscribes or unsubscribes while an
    event is being emitted changes the next emit, not that one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handlers: dict[str, dict[object, Handler]] = {}

    def subscribe(self, name: str, handler: Handler) -> Callable[[], None]:
        """Call ``handler(payload)`` at every ``emit(name, payload)``; returns what ends that.

        A handler that subscribes twice is called twice. Ending it is idempotent.
        """
        subscription = object()
        with self._lock:
            self._handlers.setdefault(name, {})[subscription] = handler

        def unsubscribe() -> None:
            with self._lock:
                self._handlers[name].pop(subscription, None)

        return unsubscribe

    def emit(self, name: str, payload: Any) -> None:
        """Call the handlers; the exception of one is logged, and does not stop the others."""
        with self._lock:
            handlers = list(self._handlers.get(name, {}).values())
        for handler in handlers:
            _call(name, handler, payload)


def _call(name: str, handler: Handler, payload: Any) -> None:
    try:
        handler(payload)
    except Exception:
        _log.exception("a handler of %s failed", name)
