"""Opening a file to read it, whatever somebody may have planted at its path."""

from __future__ import annotations

import errno
import os
import stat

# O_NONBLOCK: a pipe in the place of a file must not make the open wait for its writer.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_REFUSALS = {errno.ELOOP, errno.ENXIO, errno.EOPNOTSUPP, errno.ENOTSUP}
"""How open(2) refuses a symbolic link (ELOOP) and a socket (ENXIO on Linux, the others on macOS)."""


class NotRegularFileError(OSError):
    """Something else is in the place of a regular file. Its errno is ELOOP for a symbolic link, EISDIR for a
    folder and ENXIO for a pipe, a socket or a device."""


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """A descriptor to read a regular file, which the caller closes, and the file's status.

    Never waits, and never follows a symbolic link at ``path``. Raises NotRegularFileError and OSError.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in _REFUSALS:
            raise _not_regular(os.lstat(path).st_mode, path) from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular(status.st_mode, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def _not_regular(mode: int, path: str) -> NotRegularFileError:
    """The error for what has this ``st_mode`` and is in the place of a file."""
    code = errno.ELOOP if stat.S_ISLNK(mode) else errno.EISDIR if stat.S_ISDIR(mode) else errno.ENXIO
    return NotRegularFileError(code, f"{kind_of(mode)} stands in the place of a file", path)


def kind_of(mode: int) -> str:
    """What has this ``st_mode``, for people."""
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return (
        "a folder" if stat.S_ISDIR(mode) else "a file" if stat.S_ISREG(mode) else "a pipe, socket or device"
    )
