"""Clears a lock file whose owner cannot remove it any more, and only such a one (docs/formats.md)."""

from __future__ import annotations

import os
import time

from .lockfile import Seen, look
from .lockowner import is_gone, names_another_host, parse


def clear_stale(path: str, mutex: str, stale_seconds: float) -> bool:
    """Remove the lock or gate ``path`` if it is stale. True: ``path`` was free when this looked last.

    Between judging a file and removing it, another may have removed it and placed a live one. So only
    the holder of the flock on the file ``mutex`` removes, after a second look that found the very file
    that was judged. Never waits: while another holds the mutex the answer is False. Raises OSError.
    """
    try:
        judged = look(path)
    except PermissionError:  # somebody's lock all the same, and whose cannot be told
        return False
    if judged is None:
        return True
    if not _is_stale(judged, stale_seconds):
        return False
    from filelock import FileLock, Timeout  # slow to import, seldom needed

    try:
        with FileLock(mutex, timeout=0):
            if look(path) != judged:
                return False
            os.unlink(path)
    except (Timeout, FileNotFoundError):
        return False
    return True


def _is_stale(seen: Seen, stale_seconds: float) -> bool:
    if seen.content is None or time.time() - seen.mtime_ns / 1e9 <= stale_seconds:
        return False
    owner = parse(seen.content)
    return not names_another_host(seen.content) if owner is None else is_gone(owner)
