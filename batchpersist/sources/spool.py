"""The spool: files of the batch's own, for what cannot be read by position."""

from __future__ import annotations

import errno
import os
import secrets


class Spool:
    """A new file in a folder, to be filled from front to end. A context manager that closes it.

    It is for its owner alone to read, as the source may be. What is added is in the file
    when the call returns; OSError where it cannot be made or filled. Removing it is up to
    the batch.
    """

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, f"spool-{secrets.token_hex(8)}")
        self.size = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self.path, flags, 0o600)

    def add(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            self._check_there()
            while rest:
                written = os.write(self._descriptor, rest)
                rest = rest[written:]
                self.size += written
        except OSError as error:
            error.filename = self.path  # a write knows its descriptor only
            raise

    def _check_there(self) -> None:
        """The batch that wanted it may have ended: then nobody would ever remove what is added."""
        if not os.fstat(self._descriptor).st_nlink:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
