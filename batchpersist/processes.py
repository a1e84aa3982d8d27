"""Whether a process of this host is still running, as far as that is certain."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_START_MARGIN = 2.0
"""Seconds a process must have started after a moment to count as another one: as long as the orchestrator
waits (docs/formats.md, "Task lock")."""


def is_running(pid: int, moment: float | None) -> bool:
    """Whether a process of this host that ran at ``moment`` (seconds since the epoch) may be running still.

    False only where that is certain: the pid is free, or belongs to a process that started later.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    started = process_start(pid)
    return moment is None or started is None or started <= moment + _START_MARGIN


def has_ended(pid: int) -> bool:
    """Whether a process has ended, all its threads, and only waits for its parent to collect its exit status.

    In a container the first process may never do so. To the lock protocol such a process counts as alive
    all the same, as it does to the orchestrator (``locks.stale_locks.state_of_owner``).
    """
    import psutil

    try:
        process = psutil.Process(pid)
        return bool(process.status() == psutil.STATUS_ZOMBIE) and _has_no_threads(process)
    except (psutil.Error, OSError, ValueError, OverflowError):
        return False


def _has_no_threads(zombie: psutil.Process) -> bool:
    """Beside its first, which has ended: on Linux the other threads may still run."""
    import psutil

    try:
        return bool(zombie.num_threads() <= 1)
    except psutil.Error:
        return True


def running_in_group(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    import psutil

    return [pid for pid in psutil.pids() if _group_of(pid) == group and not has_ended(pid)]


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def process_start(pid: int) -> float | None:
    """When the process started, in whole seconds since the epoch as ``ps`` has it; None: that is unknown.

    That is up to two seconds too early: the time of boot that Linux counts from is cut to seconds as well.
    None for a thread's id, too, which can be signalled as if it were a process.
    """
    import psutil

    try:
        return math.floor(psutil.Process(pid).create_time()) if psutil.pid_exists(pid) else None
    except (psutil.Error, OSError, ValueError, OverflowError):
        return None
