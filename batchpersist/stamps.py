"""Stamps: what tells one state of a file from every later one, without reading it.

A stamp is a digest of device, inode, size, mtime and ctime. Of these nobody can set the ctime:
it is the kernel's clock at the last change of the file or of its name. But that clock moves in
ticks of some milliseconds, so a file that was changed in the current tick may change once more
and look the same. Such a file has no stamp (git calls it "racily clean").
"""

from __future__ import annotations

import os
import struct
import time
from hashlib import blake2b

STAMP_BYTES = 16

NO_STAMP = bytes(STAMP_BYTES)
"""Equal to no file's stamp."""

_LONGEST_TICK = 20_000_000
_COARSEST_TIMES = 2_000_000_000
"""Nanoseconds to which some file systems (FAT) round the times they keep."""

_ROUNDED = 10_000_000
"""Times that are a multiple of so many nanoseconds have been rounded by the file system."""

_pack = struct.Struct("=QQqqq").pack


def _coarse_clock() -> int | None:
    """Linux's CLOCK_REALTIME_COARSE, which Python does not name: the time as of the last tick.

    None on other systems, where another clock has its number, or none: it is known by what it tells.
    """
    clock, before = 5, time.time_ns()
    try:
        told = time.clock_gettime_ns(clock)
    except (OSError, AttributeError):
        return None
    return clock if before - _LONGEST_TICK <= told <= time.time_ns() else None


_COARSE_CLOCK = _coarse_clock()


def moment() -> int:
    """A time (nanoseconds since the epoch) that no later change of a file is stamped before."""
    if _COARSE_CLOCK is not None:
        return time.clock_gettime_ns(_COARSE_CLOCK)
    return time.time_ns() - _LONGEST_TICK


State = tuple[int, ...]
"""Device, inode, size, mtime and ctime: all but the last stay when the file is renamed."""


def state(status: os.stat_result) -> State:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def stamp(found: State, what: bytes = b"") -> bytes:
    """To be compared with a stamp from ``lasting_stamp``; ``what``: more that must be the same."""
    return blake2b(_pack(*found) + what, digest_size=STAMP_BYTES).digest()


def lasting_stamp(found: State, before: int, what: bytes = b"") -> bytes:
    """The stamp of a file; NO_STAMP where a change after ``before`` could leave its state as it is.

    ``before``: a ``moment()`` at which the file had the content in question, or earlier.
    """
    changed = max(found[3], found[4])
    if changed % _ROUNDED == 0:
        changed += _COARSEST_TIMES
    return stamp(found, what) if changed < before else NO_STAMP


def stamp_at(path: str) -> bytes:
    """The stamp of what is at ``path`` (a link is not followed); NO_STAMP where nothing can be seen."""
    try:
        found = os.lstat(path)
    except OSError:
        return NO_STAMP
    # As ``stamp`` of its ``state``, without the calls: a night with little that is new does nothing but this.
    of = _pack(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return blake2b(of, digest_size=STAMP_BYTES).digest()


def stamp_of_renamed(path: str, written: State, before: int) -> bytes:
    """The stamp of a file of this state (but for the ctime) that was renamed to ``path``.

    ``before``: a ``moment()`` before the rename. NO_STAMP where something else is there, or may
    have changed it since. Waits for the current tick to end if need be: some milliseconds,
    and then not again for files renamed earlier.
    """
    if written[3] >= before:
        return NO_STAMP  # written to in place since the rename, it might still look the same
    try:
        looked, found = moment(), state(os.lstat(path))
        if looked <= found[-1]:
            await_tick_after(found[-1])
            looked, found = moment(), state(os.lstat(path))
    except OSError:
        return NO_STAMP
    return lasting_stamp(found, looked) if found[:4] == written[:4] else NO_STAMP


def await_tick_after(changed: int) -> None:
    """Return once ``moment()`` is later: in some milliseconds, if not at once."""
    if moment() > changed:
        return
    latest = time.monotonic_ns() + _LONGEST_TICK
    while moment() <= changed and time.monotonic_ns() < latest:
        time.sleep(0.0005)
