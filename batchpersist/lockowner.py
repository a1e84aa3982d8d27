"""The owner record in a lock file, and whether its writer is gone (docs/formats.md, "Task lock")."""

from __future__ import annotations

import os
import socket
import time
import uuid
from datetime import datetime, timezone
from typing import Annotated, Literal

import msgspec

KIND: Literal["codex-lock-owner"] = "codex-lock-owner"

_CLOCK_MARGIN = 1.0
"""Seconds a process must have started after ``acquired_at`` to count as another one: more than the
kernel's clock tick and the clock's slow corrections add up to."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock file. The fields without a default are what makes a text an owner record."""

    schema_version: int = 1
    kind: Literal["codex-lock-owner"]
    token: str
    task_id: str = ""
    pid: Annotated[int, msgspec.Meta(gt=0, lt=2**31)]  # 0 and below would ask kill(2) about a whole group
    host: str
    acquired_at: str = ""
    stale_ms: float = 0

    def encode(self) -> bytes:
        """The one line of JSON that stands in the lock file."""
        return msgspec.json.encode(self) + b"\n"


class _Claim(msgspec.Struct):
    """The least that an owner record says."""

    kind: Literal["codex-lock-owner"]
    host: str


def this_process(task_id: str, stale_seconds: float) -> Owner:
    """A new record of this process, with a token of its own, acquired now."""
    return Owner(
        kind=KIND,
        token=str(uuid.uuid4()),
        task_id=task_id,
        pid=os.getpid(),
        host=socket.gethostname(),
        acquired_at=utc_text(),
        stale_ms=round(stale_seconds * 1000),
    )


def utc_text(moment: datetime | None = None) -> str:
    """A moment (None: now), as JavaScript's ``toISOString`` words it."""
    utc = (moment or datetime.now(timezone.utc)).astimezone(timezone.utc)
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(content: bytes) -> Owner | None:
    """The owner record in ``content``; None where it is none, whatever else it is. Never raises."""
    try:
        return msgspec.json.decode(content, type=Owner)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def names_another_host(content: bytes) -> bool:
    """Whether ``content``, no owner record otherwise (a field is missing or odd), claims to be another
    host's: whether its owner lives cannot be told from here."""
    try:
        claim = msgspec.json.decode(content, type=_Claim)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return claim.host != socket.gethostname()


def is_gone(owner: Owner) -> bool:
    """True only where it is certain that the process that wrote ``owner`` exists no more.

    That is: it ran on this host, and its pid is free or belongs to a process that started after
    ``acquired_at``. Whatever cannot be told counts as alive: another host, a process that may not
    be signalled, a zombie (its threads may run on), a start time or ``acquired_at`` that cannot be
    read. A process in another pid namespace under the same host name cannot be seen and would be
    taken for gone; what protects its lock is that it keeps the file's mtime fresh.
    """
    return owner.host == socket.gethostname() and not is_running(owner.pid, _seconds(owner.acquired_at))


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


def _seconds(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 knows no Z
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()
