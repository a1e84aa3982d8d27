"""Opening what stands at a path, whatever somebody may have planted there."""

from __future__ import annotations

import errno
import os

# O_NONBLOCK: a pipe in the place of a file must not make the open wait for its writer.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_unfollowed(path: str) -> int:
    """A descriptor to read from; it may be a folder's or a pipe's. Never waits.

    Raises OSError: ELOOP where a symbolic link is, ENXIO where a socket is.
    """
    try:
        return os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTSUP):  # as macOS says it
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), path) from error
        raise
