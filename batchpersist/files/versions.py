"""Telling one state of a file from another without reading it."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

_TICK = 0.011
"""Seconds after which a further change has another time: kernels stamp files by ticks of 10 ms at most."""

_COARSE_NS = 1_000_000
"""Where times are whole multiples of this, the file system keeps coarser ones than the kernel's."""

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Version(NamedTuple):
    """What tells one state of a file from the next: a rename over it changes at least the inode."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    """Nobody can set it back, as they can the mtime. The rename of a file changes it."""

    def is_renamed(self, before: Version) -> bool:
        """Whether it is the same file as ``before``, under another name."""
        return self[:4] == before[:4]


def version_of(path: str) -> Version | None:
    """The version of what is at ``path`` (a link is not followed); None where nothing is."""
    try:
        return version_from(os.lstat(path))
    except FileNotFoundError:
        return None


def version_from(status: os.stat_result) -> Version:
    return Version(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def settle(version: Version) -> bool:
    """Wait, some milliseconds at most, until any later change of the file gives it another version.

    False where that cannot be relied on, because the file system's times are coarse or its clock is ahead.
    """
    if version.ctime_ns % _COARSE_NS == 0:
        return False
    left = version.ctime_ns / 1e9 + _TICK - time.time()
    if left > _TICK:
        return False
    time.sleep(max(0.0, left))
    return True


def boot_id() -> str:
    """The same until the machine starts again; "" where the system does not tell: equal to no other's.

    Linux has a name for it. Elsewhere it is the time of the start, which somebody who sets the clock
    changes: then what was known counts for less than it could.
    """
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return _boot_time()


def _boot_time() -> str:
    import psutil

    try:
        return f"{psutil.boot_time():.0f}"
    except (psutil.Error, OSError, RuntimeError):
        return ""
