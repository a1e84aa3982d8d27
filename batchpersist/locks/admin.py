"""Lists the task locks of a root and unlocks those of dead owners (docs/locks.md)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ..contract.identifiers import check_task_id
from ..contract.lock_record import Owner
from ..errors import LockHeldError, UnsafeIdentifierError, UsageError
from ..options import LockPolicy
from ..paths import Layout
from . import lock_file
from .lock_file import FoundLock, describe_owner, new_owner, read_lock
from .stale_locks import CLEARED_WHEN_OLD, OwnerState, is_old, remove_judged, state_of_lock

_LOCK, _GATE = ".lock", ".lock.acquire"


_WHY_KEPT = {
    OwnerState.ALIVE: "its owner is alive",
    OwnerState.ELSEWHERE: "its owner may be alive on another host",
    OwnerState.NO_HOST: "its record names no host, so that its owner may be alive",
    OwnerState.NO_PID: "its record names no process, so that its owner may be alive",
    OwnerState.UNDATED: "a process has its owner's pid, and the record has no readable time",
    OwnerState.UNJUDGED: "its text is too long or too deep to be read",
    OwnerState.NO_LOCK: "a link or a folder stands there, which is not a lock",
}


@dataclass(frozen=True)
class LockState:
    """A lock file, or the gate to one, as it was at one moment."""

    task_id: str
    path: str
    is_gate: bool
    owner: OwnerState
    stale: bool
    """The next process that wants the lock clears it (docs/formats.md, "Task lock")."""
    kept_because: str
    """Why it is not stale; empty: it is."""
    age_seconds: float
    """Since its owner refreshed it last."""
    pid: int | None
    host: str
    acquired_at: str


def list_locks(layout: Layout, stale_seconds: float = LockPolicy.stale_seconds) -> Iterator[LockState]:
    """All task locks and gates of a root, by name. Takes nothing, and changes nothing. Raises OSError."""
    with os.scandir(layout.runs_dir) as entries:
        names = sorted(entry.name for entry in entries if entry.name.endswith((_LOCK, _GATE)))
    for name in names:
        state = _state(os.path.join(layout.runs_dir, name), stale_seconds)
        if state is not None:
            yield state


def unlock(
    layout: Layout,
    task_id: str,
    *,
    force: bool = False,
    stale_seconds: float = LockPolicy.stale_seconds,
    policy: LockPolicy = LockPolicy(),
) -> list[LockState]:
    """Remove a task's lock, and its gate, from an owner that is dead; returns what was removed.

    A dead process of this host need not become stale first. An owner that may be alive keeps it, and so
    does one without a record until that is stale, unless ``force``. As the protocol asks, the lock is
    judged and removed behind the gate, and only if it is still the file that was judged.

    Raises LockHeldError where an owner keeps a lock, UsageError for what is not a task's id, OSError.
    """
    try:
        check_task_id(task_id)
    except UnsafeIdentifierError as error:
        raise UsageError(str(error)) from None
    unlocking = _Unlocking(layout, force, stale_seconds)
    owner, gate = new_owner(task_id, stale_seconds), layout.task_lock_gate(task_id)
    with lock_file.staged_record(layout.lock_mutexes, owner) as source:
        unlocking.take_gate(source, owner, gate, policy)
        try:
            unlocking.clear(layout.task_lock(task_id))
        finally:
            lock_file.remove(gate, owner.token)
    return unlocking.removed


class _Unlocking:
    def __init__(self, layout: Layout, force: bool, stale_seconds: float) -> None:
        self._mutex = layout.break_mutex
        self._force = force
        self._stale_seconds = stale_seconds
        self.removed: list[LockState] = []

    def take_gate(self, source: str, owner: Owner, gate: str, policy: LockPolicy) -> None:
        """Clears it first, if that is allowed; waits for a process that is just taking the lock."""
        for delay in (*policy.delays(), None):
            if lock_file.place(source, owner, gate):
                return
            try:
                self.clear(gate)
            except LockHeldError:
                if delay is None:
                    raise
                time.sleep(delay)
            else:
                if lock_file.place(source, owner, gate):
                    return
        raise LockHeldError(gate, "others take it again and again")

    def clear(self, path: str) -> None:
        """Remove one lock file, if it is there and its owner may not keep it; never waits."""
        judged = read_lock(path)
        if judged is None:
            return
        state = _judge(path, judged, self._stale_seconds)
        if state.owner is OwnerState.NO_LOCK:
            raise LockHeldError(path, state.kept_because)
        if not (self._force or state.stale or state.owner is OwnerState.DEAD):
            raise LockHeldError(path, f"held by {describe_owner(path)}; {state.kept_because}")
        if not remove_judged(path, self._mutex, judged):
            raise LockHeldError(path, "it changed while it was looked at")
        self.removed.append(state)


def _state(path: str, stale_seconds: float) -> LockState | None:
    try:
        found = read_lock(path)
    except PermissionError:
        found = FoundLock(0, 0, time.time_ns(), b"")
    return None if found is None else _judge(path, found, stale_seconds)


def _judge(path: str, found: FoundLock, stale_seconds: float) -> LockState:
    name = os.path.basename(path)
    record = found.owner
    owner = state_of_lock(found)
    kept_because = _WHY_KEPT.get(owner, "")
    if owner in CLEARED_WHEN_OLD and not is_old(found, stale_seconds):
        kept_because = f"it was refreshed within {stale_seconds:g} s"
    return LockState(
        task_id=name.removesuffix(_GATE).removesuffix(_LOCK),
        path=path,
        is_gate=name.endswith(_GATE),
        owner=owner,
        stale=not kept_because,
        kept_because=kept_because,
        age_seconds=0.0 if found.content is None else max(0.0, time.time() - found.mtime_ns / 1e9),
        pid=record.pid if record else None,
        host=record.host if record else "",
        acquired_at=record.acquired_at if record else "",
    )
