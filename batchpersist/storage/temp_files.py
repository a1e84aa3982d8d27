"""Names of temporary files: they name their writer, so that files of dead processes can be removed.

``<target's name>.tmp-<place><pid><random><serial>``, all hexadecimal; the place is that of which
processes can be seen to live or not from here: a host, and on Linux its pid namespace.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import socket
import stat
from functools import lru_cache
from hashlib import blake2b

from ..paths import TEMPORARY_MARK
from ..processes import has_ended, is_running

_NAME = re.compile(re.escape(TEMPORARY_MARK) + r"([0-9a-f]{4})([0-9a-f]{6})[0-9a-f]{6}[0-9a-f]+$")


class _Suffixes:
    """Suffixes that no other process, thread or host makes."""

    def __init__(self) -> None:
        self._serial = itertools.count()  # next() of it is atomic
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._process = f"{_place()}{os.getpid() & 0xFFFFFF:06x}{secrets.token_hex(3)}"

    def next(self) -> str:
        return f"{TEMPORARY_MARK}{self._process}{next(self._serial):x}"


@lru_cache(maxsize=1)
def _place() -> str:
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        namespace = 0
    return blake2b(f"{socket.gethostname()} {namespace}".encode(), digest_size=2).hexdigest()


_suffixes = _Suffixes()


def temporary_beside(target: str) -> str:
    """A path for a temporary file beside ``target``, never given before."""
    return target + _suffixes.next()


def sweep(folder: str) -> int:
    """Remove the temporary files in a folder whose writers are dead; returns how many.

    What has another name, is no regular file, was written elsewhere or cannot be removed is left
    alone; a folder that is not there is empty. Never raises OSError.
    """
    swept = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if is_orphan(entry):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
                    swept += 1
    return swept


def is_temporary(name: str) -> bool:
    """Whether a file of this name is a temporary one of this package, wherever it was written."""
    return TEMPORARY_MARK in name and _NAME.search(name) is not None


def is_orphan(entry: os.DirEntry[str]) -> bool:
    """Whether it is a temporary file whose writer was a process of this host, and is dead for certain.

    Raises OSError where it is gone meanwhile.
    """
    found = _NAME.search(entry.name) if TEMPORARY_MARK in entry.name else None
    if found is None or found[1] != _place():
        return False
    status, writer = entry.stat(follow_symlinks=False), int(found[2], 16)
    dead = not is_running(writer, status.st_mtime) or has_ended(writer)
    return dead and stat.S_ISREG(status.st_mode)
