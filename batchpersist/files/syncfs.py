"""syncfs(2), and where its word can be taken for it (docs/decisions/0004-durability.md)."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from functools import lru_cache

_TRUSTED = {
    0xEF53: "ext2, ext3, ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x01021994: "tmpfs",
}
"""By the magic number of statfs(2): elsewhere (FUSE, network) syncfs may report success and do nothing."""

_REPORTS_ERRORS = (5, 17)
"""The first Linux whose syncfs reports lost data (5.8) as well as a failed journal or flush (5.17)."""

_libc = ctypes.CDLL(None, use_errno=True)


def syncfs(fd: int, name: str) -> None:
    """Write out everything of the file system that ``fd`` is on.

    Raises OSError (its filename: ``name``), also for data that was lost at any time since
    ``fd`` was opened.
    """
    if _libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


@lru_cache(maxsize=1)
def refusal() -> str:
    """How the system words that this process may not call syncfs; "": it may. For Linux.

    A container's filter of system calls may say so before the kernel looks at the descriptor.
    """
    _libc.syncfs(-1)
    number = ctypes.get_errno()
    return "" if number == errno.EBADF else os.strerror(number)


def is_reporting() -> bool:
    """Does this kernel's syncfs report what is lost?"""
    system = os.uname()
    return _kernel_reports_errors(system.sysname, system.release)


def is_trusted(fd: int) -> bool:
    """Is syncfs known to keep its promise on the file system that ``fd`` is on?"""
    if not is_reporting() or refusal():
        return False
    # struct statfs begins with f_type; this buffer is larger than the struct is anywhere.
    statfs = (ctypes.c_long * 64)()
    return _libc.fstatfs(fd, statfs) == 0 and statfs[0] in _TRUSTED


def _kernel_reports_errors(system: str, release: str) -> bool:
    """``Linux``, ``6.1.0-13-amd64`` -> True"""
    version = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    return system == "Linux" and version >= _REPORTS_ERRORS
