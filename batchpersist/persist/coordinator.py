"""For programs that complete runs themselves: persists the pair of each, by a call or by an event."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

from ..contract.run_parser import RUN_COMPLETED
from ..errors import TaskStateLockError, UsageError
from .pair import Settled, settle_pair

Handler = Callable[[Any], object]

_log = logging.getLogger(__name__)


class EventBus:
    """Calls the handlers of an event in the order in which they subscribed, in the emitting thread.

    Usable from several threads at once. A handler that subscribes or unsubscribes while an
    event is being emitted changes the next emit, not that one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handlers: dict[str, dict[object, Handler]] = {}

    def subscribe(self, name: str, handler: Handler) -> Callable[[], None]:
        """Call ``handler(payload)`` at every ``emit(name, payload)``; returns what unsubscribes it.

        A handler that subscribes twice is called twice. Unsubscribing is idempotent.
        """
        subscription = object()
        with self._lock:
            self._handlers.setdefault(name, {})[subscription] = handler

        def unsubscribe() -> None:
            with self._lock:
                self._handlers[name].pop(subscription, None)

        return unsubscribe

    def emit(self, name: str, payload: Any) -> None:
        """Call the handlers of an event; an exception of one is logged, and does not stop the others."""
        with self._lock:
            handlers = list(self._handlers.get(name, {}).values())
        for handler in handlers:
            _call(name, handler, payload)


def _call(name: str, handler: Handler, payload: Any) -> None:
    try:
        handler(payload)
    except Exception:
        _log.exception("a handler of %s failed", name)


OnError = Callable[[Exception, Any], object]
"""Called with the error of one side and the run's summary."""


class StateStore(Protocol):
    """Records a run in its task's snapshot: TaskStateStore, or your own."""

    def record_run(self, summary: Any, /) -> Any: ...


class ManifestWriter(Protocol):
    """Writes a run's manifest: RunManifestWriter, or your own."""

    def write(self, summary: Any, /) -> Any: ...


@dataclass(frozen=True)
class PairResult:
    """How the two sides of a run's pair settled."""

    snapshot: Settled[Any]
    manifest: Settled[Any]


class PersistenceCoordinator:
    """Persists completed runs; each thread that hands one over persists its pair.

    ``on_error(error, summary)`` hears of at most one failure a run, the manifest's before the snapshot's;
    without it failures are logged. ``pair``: "concurrent", or "sequential" for the snapshot first, then the
    manifest. Raises UsageError for another ``pair``.
    """

    def __init__(
        self,
        state_store: StateStore,
        manifest_writer: ManifestWriter,
        on_error: OnError | None = None,
        event_bus: EventBus | None = None,
        *,
        pair: Literal["concurrent", "sequential"] = "concurrent",
    ) -> None:
        if pair not in ("concurrent", "sequential"):
            raise UsageError(f"pair is concurrent or sequential, not {pair!r}")
        self._state_store = state_store
        self._manifest_writer = manifest_writer
        self._on_error = on_error
        self._event_bus = event_bus
        self._concurrent = pair == "concurrent"
        self._unsubscribe: Callable[[], None] | None = None
        self._in_flight: Counter[int] = Counter()  # by thread
        self._changed = threading.Condition()

    def start(self) -> None:
        """Handle each `run:completed` of the event bus, if there is one. Idempotent."""
        with self._changed:
            if self._event_bus is not None and self._unsubscribe is None:
                self._unsubscribe = self._event_bus.subscribe(RUN_COMPLETED, self.handle_run_completed)

    def stop(self) -> None:
        """Handle no more events, and wait for the runs that other threads are handling. Idempotent.

        Called while handling a run (by ``on_error``, say) it does not wait. An event whose ``emit`` began
        before may still be handled.
        """
        with self._changed:
            unsubscribe, self._unsubscribe = self._unsubscribe, None
            if unsubscribe is not None:
                unsubscribe()
            if threading.get_ident() not in self._in_flight:
                self._changed.wait_for(lambda: not self._in_flight)

    def handle_run_completed(self, summary: Any) -> PairResult:
        """Persist the run's pair; returns once both sides have settled.

        ``summary`` is what the store and the writer take. Raises nothing, not even what ``on_error`` raises,
        except KeyboardInterrupt and its like, once both sides have ended. Usable from several threads.
        """
        with self._handling():
            snapshot, manifest = settle_pair(
                partial(self._record, summary),
                partial(self._manifest_writer.write, summary),
                concurrent=self._concurrent,
            )
            if manifest.error is not None:
                self._report(logging.ERROR, "manifest not written", manifest.error, summary)
            elif snapshot.error is not None:
                self._report(logging.WARNING, "snapshot not recorded", snapshot.error, summary)
        return PairResult(snapshot, manifest)

    def _record(self, summary: Any) -> Any:
        try:
            return self._state_store.record_run(summary)
        except TaskStateLockError as error:
            _log.warning("snapshot skipped: %s: %s", _name(summary), error)
            raise
        except Exception as error:
            _log.error("snapshot failed: %s: %s", _name(summary), error, exc_info=error)
            raise

    def _report(self, level: int, message: str, error: Exception, summary: Any) -> None:
        if self._on_error is None:
            _log.log(level, "%s: %s: %s", message, _name(summary), error)
            return
        try:
            self._on_error(error, summary)
        except Exception:
            _log.exception("on_error failed: %s", _name(summary))

    @contextlib.contextmanager
    def _handling(self) -> Iterator[None]:
        thread = threading.get_ident()
        with self._changed:
            self._in_flight[thread] += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_flight[thread] -= 1
                if not self._in_flight[thread]:
                    del self._in_flight[thread]
                self._changed.notify_all()


def _name(summary: Any) -> str:
    """The run's name in the log."""
    if isinstance(summary, dict):
        return f"task {summary.get('taskId')!r} run {summary.get('runId')!r}"
    return "a run given as text"
