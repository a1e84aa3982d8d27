"""A lock file: created whole, read without following links, removed only by its owner.

The functions take the path of a task's lock or of its gate. They neither wait nor retry.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import uuid
from collections.abc import Iterator
from typing import NamedTuple

from ..contract.lock_record import LONGEST_RECORD, Owner, UnreadableRecordError, parse
from ..storage.file_reader import NotRegularFileError, open_regular
from ..storage.temp_files import temporary_beside
from ..timestamps import utc_text

_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
"""What link(2) says where the file system cannot link (EXDEV: our folder is mounted from elsewhere)."""


def new_owner(task_id: str, stale_seconds: float) -> Owner:
    """A record of this process, with a token of its own, acquired now."""
    return Owner(
        token=str(uuid.uuid4()),
        task_id=task_id,
        pid=os.getpid(),
        host=socket.gethostname(),
        acquired_at=utc_text(),
        stale_ms=round(stale_seconds * 1000),
    )


class FoundLock(NamedTuple):
    """What was at a path at one moment; equal only for the same file left untouched."""

    device: int
    inode: int
    mtime_ns: int
    content: bytes | None
    """None: not a regular file (a symbolic link, a folder, a pipe), hence nothing to remove."""

    @property
    def owner(self) -> Owner | None:
        """None where no record can be read."""
        with contextlib.suppress(UnreadableRecordError):
            return parse(self.content) if self.content is not None else None
        return None

    def has_token(self, token: str) -> bool:
        return self.owner is not None and self.owner.token == token


_NO_FILE = FoundLock(0, 0, 0, None)


def read_lock(path: str) -> FoundLock | None:
    """What is at ``path``, links not followed; None: nothing. Raises OSError where it cannot be read."""
    try:
        fd, info = open_regular(path)
    except FileNotFoundError:
        return None
    except NotRegularFileError:
        return _NO_FILE
    try:
        content = os.read(fd, LONGEST_RECORD + 1)
    finally:
        os.close(fd)
    return FoundLock(info.st_dev, info.st_ino, info.st_mtime_ns, content)


@contextlib.contextmanager
def staged_record(folder: str, owner: Owner) -> Iterator[str]:
    """The path of a complete file with the owner's record, to be linked into place within the block.

    It is in ``folder``, which is made where it is missing, and is removed at the block's end. Raises OSError
    and then leaves nothing.
    """
    path = temporary_beside(os.path.join(folder, "owner"))
    record = owner.encode()
    try:
        _create(path, record)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        _create(path, record)
    try:
        yield path
    finally:
        os.unlink(path)


def place(source: str, owner: Owner, path: str) -> bool:
    """Make ``path`` the owner's, whole from its first moment: a hard link to ``source``. False: it exists.

    Where links are not supported it is created and then written: exclusive all the same, but empty
    for a moment. Raises OSError for all else, and then leaves nothing there.
    """
    try:
        os.link(source, path)
    except FileExistsError:
        return _is_same(source, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        return True
    try:
        _create(path, owner.encode())
    except FileExistsError:
        return False
    return True


def _is_same(source: str, path: str) -> bool:
    """Whether the link is there after all: on NFS a request is made again when its answer was lost."""
    try:
        return os.path.samestat(os.lstat(source), os.lstat(path))
    except OSError:
        return False


def _create(path: str, content: bytes) -> None:
    fd = os.open(path, _CREATE, 0o666)
    try:
        try:
            if os.write(fd, content) != len(content):  # the disk was full within these few bytes
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        finally:
            os.close(fd)
    except BaseException:
        os.unlink(path)
        raise


def remove(path: str, token: str) -> bool:
    """Remove ``path`` if it still has ``token``; False: it is gone or another owner's, and is not touched."""
    found = read_lock(path)
    if found is None or not found.has_token(token):
        return False
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def refresh(path: str, token: str) -> bool:
    """Set the mtime of ``path`` to now if it still has ``token``; False: it has not."""
    found = read_lock(path)
    if found is None or not found.has_token(token):
        return False
    os.utime(path, follow_symlinks=False)
    return True


def describe_owner(path: str) -> str:
    """Who holds the lock file ``path`` and since when, for a message. Never raises."""
    try:
        found = read_lock(path)
    except OSError as error:
        return f"someone whose record cannot be read ({error.strerror})"
    if found is None:
        return "nobody any more"
    if found.content is None:
        return "something that is no lock file (a link or a folder)"
    owner = found.owner
    if owner is None:
        return "someone who left no owner record"
    who = f"{owner.pid or 'an unknown process'}@{owner.host or 'an unknown host'}"
    return f"{who} since {owner.acquired_at or 'an unknown time'}"
