"""Whether a process of this host is still there, as far as that can be told for certain."""

from __future__ import annotations

import os
import time

_CLOCK_MARGIN = 1.0
"""Seconds a process must have started after ``acquired_at`` to count as another one: more than the
kernel's clock tick and the clock's slow corrections add up to."""


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
    return moment is None or started is None or started <= moment + _CLOCK_MARGIN


def has_ended(pid: int) -> bool:
    """Whether a process has ended, all its threads, and only waits for somebody to ask how.

    Some systems' first process never asks. To the lock protocol it counts as alive all the same,
    as it does to the orchestrator (``is_gone``).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
        return stat[stat.rindex(b")") + 2 :][:1] == b"Z" and len(os.listdir(f"/proc/{pid}/task")) == 1
    except (OSError, ValueError):
        return False


def process_start(pid: int) -> float | None:
    """When the process started, in seconds since the epoch; None where that cannot be told.

    From field 22 of ``/proc/<pid>/stat``, clock ticks since boot (proc_pid_stat(5)). The clock is
    asked for the time since boot because ``btime`` in ``/proc/stat`` is cut to whole seconds.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
        # Field 2, the name, stands in parentheses and may itself hold spaces and parentheses.
        after_name = stat[stat.rindex(b")") + 1 :].split()
        since_boot = int(after_name[22 - 3]) / os.sysconf("SC_CLK_TCK")
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot
    except (OSError, ValueError, IndexError, AttributeError):  # no such file, form or clock here
        return None
