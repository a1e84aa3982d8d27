"""Opening what stands at a path, whatever somebody may have planted there."""

from __future__ import annotations

import os

# O_NONBLOCK: a pipe in the place of a file must not make the open wait for its writer.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_unfollowed(path: str) -> int:
    """A descriptor to read from; it may be a folder's or a pipe's. Never waits.

    Raises OSError: ELOOP where a symbolic link is, ENXIO where a socket is.
    """
    return os.open(path, _FLAGS)
