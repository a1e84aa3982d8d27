"""Locks that the kernel releases when their holder dies (flock), for files of batchpersist alone."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from ..errors import FlockMissingError

__all__ = ["KernelLock", "Timeout", "flock"]

_MISSING = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM}
"""What flock(2) says where the file system, or its server, has none, or a container's filter denies it."""


class KernelLock(FileLock):
    """A flock on the file ``path``, which stays when it is released. A context manager, of no one thread.

    ``timeout``: seconds to wait for its holder; below 0: for ever. Then acquiring raises Timeout. Where there
    is no flock it raises FlockMissingError. A file that is a lock by its existence never takes flock's
    place: one that a dead process left would hold off everybody for good.
    """

    def __init__(self, path: str, timeout: float = -1) -> None:
        super().__init__(path, timeout, thread_local=False, fallback_to_soft=False)

    def _acquire(self) -> None:
        with _naming(self.lock_file):
            super()._acquire()

    def _release(self) -> None:
        with _naming(self.lock_file):
            super()._release()


def flock(descriptor: int, operation: int, path: str) -> None:
    """``fcntl.flock`` on an open file. Raises FlockMissingError, which names its ``path``, and OSError."""
    with _naming(path):
        fcntl.flock(descriptor, operation)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _MISSING:
            raise
        raise FlockMissingError(error.errno, error.strerror, path) from error
