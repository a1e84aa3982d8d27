"""Whether a process of this host is still there, as far as that can be told for certain."""

from __future__ import annotations

import math
import os

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
    """When the process started, in whole seconds since the epoch as ``ps`` has it; None: that is unknown.

    That is up to two seconds too early: the time of boot that it counts from is cut to seconds as well.
    None for a thread's id, too, which can be signalled as if it were a process. From field 22 of
    ``/proc/<pid>/stat``, clock ticks since boot (proc_pid_stat(5)).
    """
    try:
        if str(pid) not in os.listdir("/proc"):
            return None
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
        # Field 2, the name, stands in parentheses and may itself hold spaces and parentheses.
        after_name = stat[stat.rindex(b")") + 1 :].split()
        since_boot = int(after_name[22 - 3]) / os.sysconf("SC_CLK_TCK")
        return math.floor(_boot_time() + since_boot)
    except (OSError, ValueError, IndexError):  # no such file or form here
        return None


def _boot_time() -> int:
    with open("/proc/stat", "rb") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(b"btime "))
