"""When a lock file is stale, and how it is cleared without a second owner (docs/formats.md, "Task lock")."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Collection
from enum import Enum

from ..contract.lock_record import Owner, UnreadableRecordError, moment_in, parse
from ..processes import has_ended, is_running
from .lock_file import FoundLock, read_lock

_log = logging.getLogger(__name__)


class OwnerState(str, Enum):
    """What is known of the owner of a lock file."""

    ALIVE = "alive"
    DEAD = "dead"
    """It was a process of this host, and has ended."""
    ELSEWHERE = "on another host"
    """Nobody can see from here whether it lives."""
    NO_HOST = "on an unknown host"
    NO_PID = "an unknown process"
    UNDATED = "perhaps alive"
    """A process has its pid, and may be another one: the record has no readable time."""
    UNJUDGED = "unknown"
    """Its text is too long, or too deep, to be read."""
    UNKNOWN = "left no record"
    NO_LOCK = "no lock file"
    """A link or a folder in the place of a lock."""


CLEARED_WHEN_OLD = frozenset({OwnerState.DEAD, OwnerState.UNKNOWN})
"""All others keep the lock for ever."""


def is_stale(lock: FoundLock, stale_seconds: float) -> bool:
    """By the rules of docs/formats.md, as far as is certain."""
    return is_old(lock, stale_seconds) and state_of_lock(lock) in CLEARED_WHEN_OLD


def is_old(lock: FoundLock, stale_seconds: float) -> bool:
    """Whether a lock file was not refreshed for longer, by a clock of whole milliseconds, as JavaScript's."""
    return time.time_ns() // 1_000_000 - lock.mtime_ns / 1_000_000 > stale_seconds * 1000


def state_of_lock(lock: FoundLock) -> OwnerState:
    """What a lock file says of its owner at this moment."""
    return OwnerState.NO_LOCK if lock.content is None else state_of(lock.content)


def state_of(content: bytes) -> OwnerState:
    """What the text of a lock file says of its owner at this moment. Never raises."""
    try:
        owner = parse(content)
    except UnreadableRecordError:
        return OwnerState.UNJUDGED
    return OwnerState.UNKNOWN if owner is None else state_of_owner(owner)


def state_of_owner(owner: Owner) -> OwnerState:
    """DEAD only where it is certain that the process that wrote ``owner`` exists no more.

    That is: it ran on this host, and its pid is free or belongs to a process that started after
    ``acquired_at``. A process that may not be signalled is alive, and so is a zombie (its threads may run
    on). A process in another pid namespace under the same host name cannot be seen and would be
    taken for dead; what protects its lock is that it keeps the file's mtime fresh.
    """
    if not owner.host:
        return OwnerState.NO_HOST
    if owner.host != socket.gethostname():
        return OwnerState.ELSEWHERE
    if owner.pid is None:
        return OwnerState.NO_PID
    acquired = moment_in(owner.acquired_at)
    if not is_running(owner.pid, acquired):
        return OwnerState.DEAD
    return OwnerState.UNDATED if acquired is None else OwnerState.ALIVE


def is_stale_lock(path: str, stale_seconds: float) -> bool:
    """Whether the lock or gate ``path`` is one that ``clear_stale`` would remove. Raises OSError."""
    found = read_lock(path)
    return found is not None and is_stale(found, stale_seconds)


def clear_stale(path: str, mutex: str, stale_seconds: float) -> bool:
    """Remove the lock or gate ``path`` if it is stale. True: ``path`` was free when this checked last.

    Between judging a file and removing it, another process may have removed it and placed a live one. So
    only the holder of the flock on the file ``mutex`` removes, and only the very file that was judged.
    Never waits: while another process holds the mutex the answer is False. Raises OSError.
    """
    try:
        judged = read_lock(path)
    except PermissionError:  # a lock all the same, of an owner that cannot be read
        return False
    if judged is None:
        return True
    if not is_stale(judged, stale_seconds):
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("lock kept: %s, its owner: %s", path, state_of_lock(judged).value)
        return False
    return remove_judged(path, mutex, judged)


def clear_abandoned(path: str, mutex: str, pids: Collection[int]) -> bool:
    """Remove the lock or gate ``path`` if a process of these pids left it behind, and is dead for certain.

    For processes of this host that were the caller's own, and whose end it has seen: their locks need
    not become stale first. Guarded as ``clear_stale`` is; True where it was removed. Raises OSError.
    """
    judged = read_lock(path)
    owner = judged.owner if judged is not None else None
    if owner is None or owner.pid is None or owner.pid not in pids:
        return False
    state = state_of_owner(owner)
    dead = state is OwnerState.DEAD or (state is OwnerState.ALIVE and has_ended(owner.pid))
    return dead and remove_judged(path, mutex, judged)


def remove_judged(path: str, mutex: str, judged: FoundLock | None) -> bool:
    """Remove a lock or gate, unless it is another file by now than the one that was ``judged``.

    Guarded by the flock on ``mutex``. False: it is another one, or gone, or another process holds the
    mutex. Raises OSError.
    """
    from .kernel_lock import KernelLock, Timeout  # slow to import, seldom needed

    try:
        os.makedirs(os.path.dirname(mutex), exist_ok=True)
        with KernelLock(mutex, timeout=0):
            if read_lock(path) != judged:
                return False
            os.unlink(path)
    except (Timeout, FileNotFoundError):
        return False
    _log.debug("lock removed: %s", path)
    return True
