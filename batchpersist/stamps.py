"""Stamps: what tells one state of a file from every later one, without reading it.

A stamp is a digest of device, inode, size, mtime and ctime. Of these nobody can set the ctime:
it is the kernel's clock at the last change of the file or of its name. But that clock moves in
ticks of some milliseconds, so a file that was changed in the current tick may change once more
and look the same. Such a file has no stamp (git calls it "racily clean").
"""

from __future__ import annotations

import os
import struct
import sys
import time
from hashlib import blake2b

STAMP_BYTES = 16

NO_STAMP = bytes(STAMP_BYTES)
"""Equal to no file's stamp."""

_COARSE_CLOCK = 5
"""Linux's CLOCK_REALTIME_COARSE, which Python does not name: the time as of the last tick."""

_LONGEST_TICK = 20_000_000
_COARSEST_TIMES = 2_000_000_000
"""Nanoseconds to which some file systems (FAT) round the times they keep."""

_ROUNDED = 10_000_000
"""Times that are a multiple of so many nanoseconds have been rounded by the file system."""

_pack = struct.Struct("=QQqqq").pack


def moment() -> int:
    """A time (nanoseconds since the epoch) that no later change of a file is stamped before."""
    if sys.platform == "linux":
        return time.clock_gettime_ns(_COARSE_CLOCK)
    return time.time_ns() - _LONGEST_TICK


def stamp(status: os.stat_result) -> bytes:
    """To be compared with a stamp from ``lasting_stamp``."""
    fields = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return blake2b(_pack(*fields), digest_size=STAMP_BYTES).digest()


def lasting_stamp(status: os.stat_result, before: int) -> bytes:
    """The stamp of a file; NO_STAMP where a change after ``before`` could leave the status as it is.

    ``before``: a ``moment()`` at which the file had the content in question, or earlier.
    """
    changed = max(status.st_ctime_ns, status.st_mtime_ns)
    if changed % _ROUNDED == 0:
        changed += _COARSEST_TIMES
    return stamp(status) if changed < before else NO_STAMP


def stamp_at(path: str) -> bytes:
    """The stamp of what is at ``path`` (a link is not followed); NO_STAMP where nothing can be seen."""
    try:
        return stamp(os.lstat(path))
    except OSError:
        return NO_STAMP
