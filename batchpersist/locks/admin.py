"""Lists the task locks of a root and unlocks those of dead owners (docs/locks.md)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from ..contract import lock_record
from ..contract.identifiers import check_task_id
from ..contract.lock_record import CLEARED_WHEN_OLD, OwnerState
from ..errors import LockHeldError, UnsafeIdentifierError, UsageError
from ..options import LockPolicy
from ..paths import Layout
from . import lock_file
from .lock_file import Seen
from .stale_locks import is_old, owner_state, remove_judged

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
    """Whoever tries for it would clear it (docs/formats.md, "Task lock")."""
    kept_because: str
    """Why it is not stale, in words; empty: it is."""
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
    judged and removed behind the gate, and only if a second look finds the file that was judged.

    Raises LockHeldError where a lock is left alone, UsageError for what is no task's id, OSError.
    """
    try:
        check_task_id(task_id)
    except UnsafeIdentifierError as error:
        raise UsageError(str(error)) from None
    me = lock_record.this_process(task_id, stale_seconds)
    gate = layout.task_lock_gate(task_id)
    clear = partial(_clear, layout, force=force, stale_seconds=stale_seconds)
    with lock_file.staged(layout.lock_mutexes, me) as source:
        removed = _take_gate(gate, lambda: lock_file.place(source, me, gate), clear, policy)
        try:
            removed += clear(layout.task_lock(task_id))
        finally:
            lock_file.remove(gate, me.token)
    return removed


def _take_gate(
    gate: str, place: Callable[[], bool], clear: Callable[[str], list[LockState]], policy: LockPolicy
) -> list[LockState]:
    """Clears it first, if that may be; waits for one who may only just be taking the lock."""
    removed: list[LockState] = []
    for delay in (*policy.delays(), None):
        if place():
            return removed
        try:
            removed += clear(gate)
        except LockHeldError:
            if delay is None:
                raise
            time.sleep(delay)
        else:
            if place():
                return removed
    raise LockHeldError(gate, "others take it again and again")


def _clear(layout: Layout, path: str, force: bool, stale_seconds: float) -> list[LockState]:
    """Remove one lock file, if it is there and may be; nothing is waited for."""
    judged = lock_file.look(path)
    if judged is None:
        return []
    state = _judge(path, judged, stale_seconds)
    if state.owner is OwnerState.NO_LOCK:
        raise LockHeldError(path, state.kept_because)
    if not (force or state.stale or state.owner is OwnerState.DEAD):
        raise LockHeldError(path, f"held by {lock_file.holder(path)}; {state.kept_because}")
    if not remove_judged(path, layout.break_mutex, judged):
        raise LockHeldError(path, "it changed while it was looked at")
    return [state]


def _state(path: str, stale_seconds: float) -> LockState | None:
    try:
        seen = lock_file.look(path)
    except PermissionError:
        seen = Seen(0, 0, time.time_ns(), b"")
    return None if seen is None else _judge(path, seen, stale_seconds)


def _judge(path: str, seen: Seen, stale_seconds: float) -> LockState:
    name = os.path.basename(path)
    record = None if seen.content is None else lock_record.parse(seen.content)
    owner = owner_state(seen)
    kept_because = _WHY_KEPT.get(owner, "")
    if owner in CLEARED_WHEN_OLD and not is_old(seen, stale_seconds):
        kept_because = f"it was refreshed within {stale_seconds:g} s"
    return LockState(
        task_id=name.removesuffix(_GATE).removesuffix(_LOCK),
        path=path,
        is_gate=name.endswith(_GATE),
        owner=owner,
        stale=not kept_because,
        kept_because=kept_because,
        age_seconds=0.0 if seen.content is None else max(0.0, time.time() - seen.mtime_ns / 1e9),
        pid=record.pid if record else None,
        host=record.host if record else "",
        acquired_at=record.acquired_at if record else "",
    )
