"""When a lock file is stale, and how it is cleared without a second holder (docs/formats.md)."""

from __future__ import annotations

import os
import time
from collections.abc import Collection

from ..contract.lock_record import CLEARED_WHEN_OLD, OwnerState, parse, state_of, state_of_owner
from ..processes import has_ended
from .lock_file import Seen, look


def clear_stale(path: str, mutex: str, stale_seconds: float) -> bool:
    """Remove the lock or gate ``path`` if it is stale. True: ``path`` was free when this looked last.

    Between judging a file and removing it, another may have removed it and placed a live one. So only
    the holder of the flock on the file ``mutex`` removes, after a second look that found the very file
    that was judged. Never waits: while another holds the mutex the answer is False. Raises OSError.
    """
    try:
        judged = look(path)
    except PermissionError:  # somebody's lock all the same, and whose cannot be told
        return False
    if judged is None:
        return True
    if not is_stale(judged, stale_seconds):
        return False
    return remove_judged(path, mutex, judged)


def is_stale_lock(path: str, stale_seconds: float) -> bool:
    """Whether the lock or gate ``path`` is one that ``clear_stale`` would remove. Raises OSError."""
    seen = look(path)
    return seen is not None and is_stale(seen, stale_seconds)


def clear_abandoned(path: str, mutex: str, pids: Collection[int]) -> bool:
    """Remove the lock or gate ``path`` if a process of these pids left it behind, and is dead for certain.

    For processes of this host that were the caller's own, and whose end it has seen: their locks need
    not become stale first. Guarded as ``clear_stale`` is; True where it was removed. Raises OSError.
    """
    judged = look(path)
    owner = parse(judged.content) if judged is not None and judged.content is not None else None
    if owner is None or owner.pid is None or owner.pid not in pids:
        return False
    state = state_of_owner(owner)
    dead = state is OwnerState.DEAD or (state is OwnerState.ALIVE and has_ended(owner.pid))
    return dead and remove_judged(path, mutex, judged)


def remove_judged(path: str, mutex: str, judged: Seen | None) -> bool:
    """Remove a lock or gate, unless it is another file by now than the one that was ``judged``.

    Guarded by the flock on ``mutex``. False: it is another one, or gone, or somebody holds the mutex.
    Raises OSError.
    """
    from .kernel_lock import KernelLock, Timeout  # slow to import, seldom needed

    try:
        os.makedirs(os.path.dirname(mutex), exist_ok=True)
        with KernelLock(mutex, timeout=0):
            if look(path) != judged:
                return False
            os.unlink(path)
    except (Timeout, FileNotFoundError):
        return False
    return True


def is_stale(seen: Seen, stale_seconds: float) -> bool:
    """By the rules of docs/formats.md, "Task lock", as far as is certain."""
    return is_old(seen, stale_seconds) and owner_state(seen) in CLEARED_WHEN_OLD


def is_old(seen: Seen, stale_seconds: float) -> bool:
    """Whether a lock file was not refreshed for longer, by a clock of whole milliseconds, as JavaScript's."""
    return time.time_ns() // 1_000_000 - seen.mtime_ns / 1_000_000 > stale_seconds * 1000


def owner_state(seen: Seen) -> OwnerState:
    """What the file tells of its owner."""
    return OwnerState.NO_LOCK if seen.content is None else state_of(seen.content)
