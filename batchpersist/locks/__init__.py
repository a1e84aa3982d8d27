"""Locks: the task lock that is shared with the orchestrator, and the batch's own.

``TaskLock`` follows the orchestrator's protocol and never takes a lock from an owner that may be
alive.
"""

from .admin import LockState, list_locks, unlock
from .batch_lock import BatchLock, held_locks, holder_of
from .kernel_lock import KernelLock, Timeout, flock
from .stale_locks import is_stale_lock
from .task_lock import TaskLock, clear_locks, stop_locking

__all__ = [
    "BatchLock",
    "KernelLock",
    "LockState",
    "TaskLock",
    "Timeout",
    "clear_locks",
    "stop_locking",
    "flock",
    "held_locks",
    "holder_of",
    "is_stale_lock",
    "list_locks",
    "unlock",
]
