"""The fingerprint of a file: device, inode, size and times distinguish its states without reading it.

It is made of device, inode, size, mtime and ctime. Nobody can set the ctime: it is the kernel's clock at
the last change of the file or of its name. But that clock moves in ticks of some milliseconds, so a file
that was changed within the current tick can change again and keep its fingerprint (git calls such a
file "racily clean"). A cache therefore takes a fingerprint only if it ``is_older_than`` a reading of the
clock from before the content was read. What is too new is not cached. Only a long snapshot is worth waiting
for the end of a tick (``snapshots/entry_positions``).
"""

from __future__ import annotations

import os
import struct
import time
from hashlib import blake2b
from typing import NamedTuple

FINGERPRINT_BYTES = 16

NO_FINGERPRINT = bytes(FINGERPRINT_BYTES)
"""Equal to that of no file."""

_LONGEST_TICK_NS = 20_000_000

_PAUSE_NS = 4_000_000
"""Between two readings of the clock: the most common tick."""

_ROUNDED_NS = 1_000_000
"""Times that are whole multiples of this were rounded by the file system, ..."""

_COARSEST_NS = 2_000_000_000
"""... to so many nanoseconds at worst (FAT)."""

_ALL = struct.Struct("=QQqqq").pack
_PACKED = struct.Struct("=II8s")
_LOW = 0xFFFFFFFF

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Fingerprint(NamedTuple):
    """Two files, or two states of one file, never have the same one, unless within a tick of the clock."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    """Nobody can set it back, as they can the mtime. A rename of the file changes it."""

    @classmethod
    def of(cls, status: os.stat_result) -> Fingerprint:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @classmethod
    def at(cls, path: str) -> Fingerprint | None:
        """That of what is at ``path`` (a link is not followed); None where nothing is. Raises OSError."""
        try:
            return cls.of(os.lstat(path))
        except FileNotFoundError:
            return None

    def is_renamed(self, before: Fingerprint) -> bool:
        """Whether it is the same file as ``before``, under another name."""
        return self[:4] == before[:4]

    def is_older_than(self, clock: int) -> bool:
        """Whether each change after ``clock`` (a ``file_clock()``) gives the file another fingerprint."""
        changed = max(self.mtime_ns, self.ctime_ns)
        if changed % _ROUNDED_NS == 0:
            changed += _COARSEST_NS
        return changed < clock

    def packed(self) -> bytes:
        """FINGERPRINT_BYTES that are equal for equal fingerprints alone."""
        return _packed(self.device, self.inode, self.size, self.mtime_ns, self.ctime_ns)

    def packed_for_cache(self, clock: int) -> bytes:
        """The same; NO_FINGERPRINT where it is not older than ``clock``."""
        return self.packed() if self.is_older_than(clock) else NO_FINGERPRINT


def _packed(device: int, inode: int, size: int, mtime_ns: int, ctime_ns: int) -> bytes:
    """A digest of all, after the low bits of size and ctime, by which ``what_changed`` names the change."""
    digest = blake2b(_ALL(device, inode, size, mtime_ns, ctime_ns), digest_size=8).digest()
    return _PACKED.pack(size & _LOW, ctime_ns & _LOW, digest)


def packed_at(path: str) -> bytes:
    """The packed fingerprint of what is at ``path`` (a link is not followed); NO_FINGERPRINT where nothing
    can be seen."""
    try:
        found = os.lstat(path)
    except OSError:
        return NO_FINGERPRINT
    # Without a Fingerprint: a night with little that is new does nothing but this.
    size, ctime_ns = found.st_size, found.st_ctime_ns
    digest = blake2b(_ALL(found.st_dev, found.st_ino, size, found.st_mtime_ns, ctime_ns), digest_size=8)
    return _PACKED.pack(size & _LOW, ctime_ns & _LOW, digest.digest())


def what_changed(cached: bytes, found: bytes) -> str:
    """Why a packed fingerprint is not the cached one, in words for a log."""
    if cached == NO_FINGERPRINT:
        return "not in the cache, or written within the last clock tick"
    if found == NO_FINGERPRINT:
        return "gone, or written within the last clock tick"
    (size, ctime, _), (found_size, found_ctime, _) = _PACKED.unpack(cached), _PACKED.unpack(found)
    if size != found_size:
        return "size changed"
    return "ctime changed" if ctime != found_ctime else "another file"


def file_clock() -> int:
    """The kernel's time for changes of files, in ns since the epoch: no later change has an earlier time."""
    if _COARSE_CLOCK is not None:
        return time.clock_gettime_ns(_COARSE_CLOCK)
    return time.time_ns() - _LONGEST_TICK_NS


def await_tick(path: str) -> None:
    """Wait until the clock has passed the times of the file at ``path``. Raises OSError.

    That takes some milliseconds. Returns after ``_LONGEST_TICK_NS`` at the latest: a file system that rounds
    its times is not waited for.
    """
    found = Fingerprint.at(path)
    for _ in range(_LONGEST_TICK_NS // _PAUSE_NS):
        if found is None or found.is_older_than(file_clock()):
            return
        time.sleep(_PAUSE_NS / 1e9)


def _coarse_clock() -> int | None:
    """Linux's CLOCK_REALTIME_COARSE, the time as of the last tick, which Python does not name.

    None on other systems, where another clock has its number, or none: its time shows which.
    """
    clock, before = 5, time.time_ns()
    try:
        found = time.clock_gettime_ns(clock)
    except (OSError, AttributeError):
        return None
    return clock if before - _LONGEST_TICK_NS <= found <= time.time_ns() else None


_COARSE_CLOCK = _coarse_clock()


def boot_id() -> str:
    """The same until the machine starts again; "" where the system does not say: equal to no other's.

    A file that was not synced may be torn after a power cut and have the fingerprint of before, so what
    is cached of it ends with the boot. Linux has a name for it; elsewhere it is the time of the start,
    which somebody who sets the clock changes: then less is taken from a cache than could be.
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
