"""Keeps the mtime of every lock file this process holds fresh, from one thread."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import NamedTuple

from . import lockfile

_log = logging.getLogger(__name__)

_SHORTEST = 0.05
"""Seconds between two rounds at least, however short the stale time is."""


class _Lease(NamedTuple):
    path: str
    interval: float
    """Seconds between two refreshes."""


class Keepalive:
    """Refreshes the held lock files while at least one is held.

    Its daemon thread starts with the first lock and ends by itself in the first round that finds none
    held, so that taking and dropping a lock neither starts nor wakes it. A forked child inherits
    neither the thread nor the locks: it starts empty. Thread-safe.
    """

    def __init__(self) -> None:
        self._start_empty()
        os.register_at_fork(after_in_child=self._start_empty)

    def _start_empty(self) -> None:
        self._changed = threading.Condition()
        self._leases: dict[str, _Lease] = {}
        self._running = False
        self._next_round = 0.0

    def add(self, token: str, path: str, stale_seconds: float) -> None:
        """Refresh ``path`` from now on, as long as it carries ``token``.

        Every quarter of ``stale_seconds``: docs/formats.md asks for a half, and a round may be late.
        """
        lease = _Lease(path, max(stale_seconds / 4, _SHORTEST))
        with self._changed:
            if not self._running:
                self._running = self._start()
            elif time.monotonic() + lease.interval < self._next_round:
                self._changed.notify()
            self._leases[token] = lease

    def _start(self) -> bool:
        """False where there is no thread to be had: the next lock tries again. The lock holds all the
        same, for nobody breaks an old one whose owner lives."""
        try:
            threading.Thread(target=self._run, name="batchpersist-keepalive", daemon=True).start()
        except RuntimeError:
            return False
        return True

    def drop(self, token: str) -> None:
        """Refresh the lock with this token no more; harmless where it is not known."""
        with self._changed:
            self._leases.pop(token, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._leases:
                    self._running = False
                    return
                interval = min(lease.interval for lease in self._leases.values())
                self._next_round = time.monotonic() + interval
                self._changed.wait(interval)
                leases = list(self._leases.items())
            for token, lease in leases:  # outside the mutex: a slow disk must not delay add and drop
                self._refresh(token, lease.path)

    def _refresh(self, token: str, path: str) -> None:
        try:
            if not lockfile.refresh(path, token):
                self.drop(token)  # released just now, or lost: then release says so
        except OSError as error:
            _log.warning("could not refresh lock file %s: %s", path, error)
