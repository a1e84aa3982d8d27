"""One batch at a time on a root: a lock that is released when its holder dies.

Shards of one batch (``--shard``) may work at the same time, each under a lock of its own; a whole
batch, and shards of which there are more or fewer, would meet them at the same tasks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from types import TracebackType

import msgspec

from ..context import Deadline, RunContext
from ..errors import BatchLockedError
from ..events import BatchWaiting
from ..models import Durability
from ..partition import shards_in
from ..paths import LOCK_SUFFIX, Layout
from ..storage import atomic_write
from ..storage.file_reader import open_regular
from ..timestamps import utc_text
from .kernel_lock import KernelLock, Timeout, flock

POLL_SECONDS = 0.2
"""Between two attempts at a lock."""

GATE_SECONDS = 30.0
"""To wait for others that look whether they may begin: they take milliseconds, but may be many."""


GLANCE_SECONDS = 0.1
"""For so long a lock that is taken is tried for again, for ``holder_of`` holds it for an instant."""


class BatchHolder(msgspec.Struct):
    """Who runs a batch: kept in ``<lock file>.json`` meanwhile, so that a second one can name it."""

    pid: int
    host: str
    started: str
    description: str

    def __str__(self) -> str:
        return f"{self.description} ({self.pid}@{self.host} since {self.started})"


class BatchLock:
    """Holds off other batches on the same runs-dir, in this process as well. A context manager.

    ``description``: what a person would call the batch. ``wait``: seconds to wait for the other
    batch to end (0: none), which ``context`` hears of once and may cut short.

    An flock on ``layout.batch_lock``: it ends with the process, however that
    dies, and reaches as far as the file system takes flock (on NFS: all its clients). The lock file
    itself may stay behind and means nothing. Before a batch takes one it checks those of its rivals, behind
    one gate for all.
    """

    def __init__(
        self,
        layout: Layout,
        description: str,
        *,
        wait: float = 0.0,
        context: RunContext = RunContext(),
    ) -> None:
        self._layout = layout
        self._path = layout.batch_lock
        self._description = description
        self._wait = wait
        self._context = context
        self._pid = 0
        self._started = ""
        self._lock = KernelLock(self._path)

    def acquire(self) -> None:
        """Take the lock; the folder is made where it is missing.

        Raises BatchLockedError (who holds it, since when), FlockMissingError, OSError, and RuntimeError
        when this object holds the lock already.
        """
        if self._lock.is_locked:
            raise RuntimeError(f"batch lock is held already: {self._path}")
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        deadline = Deadline(self._wait)
        is_reported = False
        while (taken := self._try()) is not None:
            holder = str(_read_holder(taken))
            if not (is_reported or deadline.has_passed):
                self._context.on_event(BatchWaiting(holder, self._wait))
                is_reported = True
            if deadline.has_passed or self._context.is_stopping:
                raise BatchLockedError(taken, holder)
            time.sleep(min(POLL_SECONDS, max(0.0, deadline.seconds_left)))
        try:
            self._pid = os.getpid()
            self._started = utc_text()
            self.describe(self._description)
        except BaseException:
            self._lock.release()
            raise

    def _try(self) -> str | None:
        """Take the lock; or else the path of the one that is in the way."""
        try:
            with KernelLock(self._layout.batch_gate, GATE_SECONDS):
                for rival in self._rivals():
                    if _holder_at(rival) is not None:
                        return rival
                self._lock.acquire(timeout=GLANCE_SECONDS, poll_interval=GLANCE_SECONDS / 5)
        except Timeout:
            return self._path
        return None

    def _rivals(self) -> Iterator[str]:
        """The locks that may not be held beside this one."""
        layout = self._layout
        if layout.shard:
            yield layout.whole_batch_lock
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(layout.shard_locks)):
                of = shards_in(name.removesuffix(LOCK_SUFFIX)) if name.endswith(LOCK_SUFFIX) else 0
                if of and of != shards_in(layout.shard):
                    yield os.path.join(layout.shard_locks, name)

    def describe(self, description: str) -> None:
        """Say what holds the lock, once that is known better. Raises OSError."""
        holder = BatchHolder(self._pid, socket.gethostname(), self._started, description)
        atomic_write.write(_record(self._path), msgspec.json.encode(holder), Durability.NONE)

    def release(self) -> None:
        """Release the lock and remove the record; does nothing where it is not held.

        Nor in a forked child: what it inherits is its parent's lock.
        """
        if not self._lock.is_locked or self._pid != os.getpid():
            return
        # First the record: once the lock is free it could be the next batch's.
        with contextlib.suppress(OSError):
            os.unlink(_record(self._path))
        self._lock.release()

    def __enter__(self) -> BatchLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class _Unknown(BatchHolder):
    def __str__(self) -> str:
        return "a batch that has not said yet who it is"


def _record(path: str) -> str:
    return path + ".json"


def _read_holder(path: str) -> BatchHolder:
    """The record beside a lock. It is missing in the moment after the lock was taken."""
    try:
        with open(_record(path), "rb") as file:
            return msgspec.json.decode(file.read(), type=BatchHolder)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return _Unknown(pid=0, host="", started="", description="")


def held_locks(layout: Layout) -> Iterator[tuple[str, BatchHolder]]:
    """The batch locks of a root that are held now, the whole one's and the shards'. Raises OSError."""
    paths = [layout.whole_batch_lock]
    with contextlib.suppress(FileNotFoundError):
        paths += [
            os.path.join(layout.shard_locks, name)
            for name in sorted(os.listdir(layout.shard_locks))
            if name.endswith(LOCK_SUFFIX)
        ]
    for path in paths:
        holder = _holder_at(path)
        if holder is not None:
            yield path, holder


def holder_of(layout: Layout) -> BatchHolder | None:
    """Who holds the batch lock of a root now; None: nobody, whatever a batch that was killed left behind.

    That of a shard, if the layout is one's. Asks the kernel by a shared flock, held for an instant: a batch
    that begins just then tries again. Raises OSError where the lock file cannot be read.
    """
    return _holder_at(layout.batch_lock)


def _holder_at(path: str) -> BatchHolder | None:
    try:
        descriptor, _ = open_regular(path)
    except FileNotFoundError:
        return None
    try:
        flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, path)
    except BlockingIOError:
        return _read_holder(path)
    finally:
        os.close(descriptor)
    return None
