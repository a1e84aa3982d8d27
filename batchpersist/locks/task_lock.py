"""The task lock that batchpersist shares with a running orchestrator (docs/formats.md, "Task lock")."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Collection
from types import TracebackType
from typing import NamedTuple

from ..contract.lock_record import Owner
from ..errors import TaskStateLockError
from ..options import LockPolicy
from ..paths import Layout
from ..profiling import LOCK_WAIT, in_phase
from . import lock_file
from .lock_file import describe_owner
from .stale_locks import clear_abandoned, clear_stale

_log = logging.getLogger(__name__)

_SHORTEST = 0.05
"""Seconds between two rounds at least, however short the stale time is."""


class _Lease(NamedTuple):
    path: str
    interval: float
    """Seconds between two refreshes."""


class LockRefresher:
    """Refreshes the held lock files while at least one is held.

    Its daemon thread starts with the first lock and ends by itself in the first round that finds none
    held, so that taking and releasing a lock neither starts nor wakes it. A forked child inherits
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
        """Refresh ``path`` from now on, as long as it has ``token``.

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
        """False where the system has no thread: the next lock tries again. The lock holds all the same, for
        nobody clears an old one whose owner lives."""
        try:
            threading.Thread(target=self._run, name="batchpersist-lock-refresher", daemon=True).start()
        except RuntimeError:
            return False
        return True

    def remove(self, token: str) -> None:
        """Stop refreshing the lock with this token; does nothing where it is not known."""
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
            for token, lease in leases:  # outside the mutex: a slow disk must not delay add and remove
                self._refresh(token, lease.path)

    def _refresh(self, token: str, path: str) -> None:
        try:
            if not lock_file.refresh(path, token):
                self.remove(token)  # released just now, or lost: then release says so
        except OSError as error:
            _log.warning("could not refresh lock file %s: %s", path, error)


_refresher = LockRefresher()
_using: set[TaskLock] = set()
"""The locks that this process holds or is trying for."""
os.register_at_fork(after_in_child=_using.clear)
_is_stopping = threading.Event()


def stop_locking(seconds: float) -> None:
    """Before this process ends at once: take no more task locks, and wait for the release of those in use.

    A commit holds its lock for a moment only; a process that ends meanwhile would keep all others from
    the task for minutes. Returns after ``seconds`` at the latest. For any thread that does not itself
    hold a lock.
    """
    _is_stopping.set()
    deadline = time.monotonic() + seconds
    while _using and time.monotonic() < deadline:
        time.sleep(0.005)


def clear_locks(layout: Layout, task_id: str, pids: Collection[int]) -> None:
    """Remove a task's lock and gate where a dead process of these pids, once the caller's own, left them.

    Never raises OSError: what cannot be removed becomes stale in time.
    """
    for path in (layout.task_lock(task_id), layout.task_lock_gate(task_id)):
        with contextlib.suppress(OSError):
            if clear_abandoned(path, layout.break_mutex, pids):
                _log.warning("a worker died with a task's lock, which is cleared: %s", path)


class TaskLock:
    """Keeps all others from recording runs of a task: processes, threads, the orchestrator.

    ``task_id`` must have been checked. Not reentrant, not inherited by a forked child (there it is
    simply not held, and releasing it does nothing). Different objects for one task exclude each other
    in one process as well. While held, the file's mtime is kept fresh.

    As a context manager it raises TaskStateLockError at the end of a block in which the lock was lost: its
    new owner may have overtaken what was done in the block, and the caller checks it again. The published
    orchestrator can take it so (docs/decisions/0019-lock-records.md).
    """

    def __init__(self, layout: Layout, task_id: str, policy: LockPolicy = LockPolicy()) -> None:
        self._task_id = task_id
        self._policy = policy
        self._path = layout.task_lock(task_id)
        self._gate = layout.task_lock_gate(task_id)
        self._folder = layout.lock_mutexes
        self._mutex = layout.break_mutex
        self._held: tuple[int, str] | None = None
        """The holding process and the token in the file."""

    def acquire(self) -> None:
        """Take the lock. Makes the runs-dir where it is missing.

        Sleeps only between attempts. Raises TaskStateLockError when all attempts found the lock or its
        gate taken, OSError for any other reason, RuntimeError when this object holds the lock already.
        Whatever it raises, it leaves nothing on disk.
        """
        if self._token() is not None:
            raise RuntimeError(f"task lock is held already: {self._path}")
        _using.add(self)
        try:
            with in_phase(LOCK_WAIT):
                self._acquire()
        except BaseException:
            _using.discard(self)
            raise

    def _acquire(self) -> None:
        if _is_stopping.is_set():
            raise TaskStateLockError("task is locked", "this process is ending")
        obstacle = self._attempt()
        for delay in self._policy.delays():
            if obstacle is None:
                return
            time.sleep(delay)
            obstacle = self._attempt()
        if obstacle is not None:
            raise TaskStateLockError("task is locked", f"{obstacle} held by {describe_owner(obstacle)}")

    def release(self) -> bool:
        """Release the lock; does nothing where it is not held. False: it was lost while held.

        The file is removed only if it still has this object's token; the log warns of a lock that was
        lost. Raises OSError when it cannot be read or removed.
        """
        token = self._token()
        self._held = None
        if token is None:
            return True
        _refresher.remove(token)
        try:
            if lock_file.remove(self._path, token):
                return True
            _log.warning("task lock was lost while held: %s", self._path)
            return False
        finally:
            _using.discard(self)

    def __enter__(self) -> TaskLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.release() and kind is None:
            raise TaskStateLockError("task lock was lost while held", self._path)

    def _token(self) -> str | None:
        return self._held[1] if self._held is not None and self._held[0] == os.getpid() else None

    def _attempt(self) -> str | None:
        """Try once. None: the lock is held now; else the path of the file that was in the way."""
        owner = lock_file.new_owner(self._task_id, self._policy.stale_seconds)
        try:
            with lock_file.staged_record(self._folder, owner) as source:
                obstacle = self._take(source, owner)
            if obstacle is None:
                _refresher.add(owner.token, self._path, self._policy.stale_seconds)
                self._held = (os.getpid(), owner.token)
        except BaseException:
            self._held = None
            for path in (self._path, self._gate):
                with contextlib.suppress(OSError):
                    lock_file.remove(path, owner.token)
            raise
        return obstacle

    def _take(self, source: str, owner: Owner) -> str | None:
        """Take the gate, then the lock, then release the gate. Clear a stale lock behind the gate only."""
        if not self._place(source, owner, self._gate):
            return self._gate
        try:
            return None if self._place(source, owner, self._path) else self._path
        finally:
            lock_file.remove(self._gate, owner.token)

    def _place(self, source: str, owner: Owner, path: str) -> bool:
        if lock_file.place(source, owner, path):
            return True
        free = clear_stale(path, self._mutex, self._policy.stale_seconds)
        return free and lock_file.place(source, owner, path)
