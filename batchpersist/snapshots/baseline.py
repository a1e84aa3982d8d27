"""The file that a commit merges with: opened safely, and recognised again later on."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

from ..errors import SnapshotError
from ..files.opening import open_unfollowed
from ..files.versions import Version, version_from, version_of
from ..layout import Layout
from ..memory import UNBOUNDED, MemoryBound
from ..models import Keys
from .history import History, empty_history, read_history
from .historycache import recall
from .otherforms import NotAFileError, NotASnapshotError, blocks


class Baseline:
    """The state of a task's files at one moment, as far as a commit builds on it.

    The file is kept open until ``close``: as long as it is, no other file can get its inode
    number, so that an equal version means the same content.
    """

    def __init__(self, memory: MemoryBound = UNBOUNDED) -> None:
        self._memory = memory
        self.mode: int | None = None
        """The permission bits of the snapshot; None where there is none."""
        self.version: Version | None = None
        """The snapshot's, from before it was read; None where there is none."""
        self._versions: dict[str, Version | None] = {}
        self._file: BinaryIO | None = None
        self._history = empty_history()

    def is_current(self) -> bool:
        """Whether the task's files are still as they were read."""
        return all(version_of(path) == version for path, version in self._versions.items())

    def close(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self, size: int, offset: int) -> bytes:
        """Bytes of the snapshot that was opened, whether or not it could be loaded; else none."""
        return os.pread(self._file.fileno(), size, offset) if self.version and self._file else b""

    def content(self) -> Iterator[bytes]:
        """All of that, in blocks."""
        return blocks(self.read)

    def load(
        self, layout: Layout, task_id: str, keys: Keys, *, cache: bool = True, earlier: Baseline | None = None
    ) -> History:
        """Read the task's snapshot; where it has none, its legacy state if that is one, else nothing.

        Once only. ``cache``: what this package noted down of a long snapshot may stand for
        reading it. ``earlier``: loaded before and not closed yet; what is as it was there is
        compared with it only. Raises SnapshotError (a snapshot that cannot be read as one) and
        OSError; then, as well, the caller closes.
        """
        snapshot = layout.snapshot(task_id)
        with _naming(snapshot):
            found = self._open(snapshot)
            if found is not None:
                self.version = found[1]
                path = layout.history_cache(task_id) if cache else None
                self._history = self._read(*found, task_id, keys, path, earlier)
                return self._history
        return self.load_legacy(layout, task_id, keys)

    def load_legacy(self, layout: Layout, task_id: str, keys: Keys) -> History:
        """Read the task's legacy state, even if it has a snapshot; nothing where it is none. As ``load``."""
        legacy = layout.legacy_state(task_id)
        with _naming(legacy):
            try:
                found = self._open(legacy)
                self.mode = None
                if found is not None:
                    self._history = self._read(*found, task_id, keys, None, None)
                    self._history.further = b""  # of no meaning in a snapshot
            except NotASnapshotError:
                pass  # the name also serves other purposes
            return self._history

    def _open(self, path: str) -> tuple[BinaryIO, Version] | None:
        self._versions[path] = None
        try:
            descriptor = open_unfollowed(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise SnapshotError("the snapshot is a symbolic link") from error
            raise
        status = os.fstat(descriptor)
        version = self._versions[path] = version_from(status)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise NotAFileError("the snapshot is not a regular file")
        self.mode = stat.S_IMODE(status.st_mode)
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        return self._file, version

    def _read(
        self,
        file: BinaryIO,
        version: Version,
        task_id: str,
        keys: Keys,
        cache: str | None,
        earlier: Baseline | None,
    ) -> History:
        read = partial(os.pread, file.fileno())
        before = earlier.history_beside(version) if earlier else None
        known = recall(cache, task_id, keys, version) if cache else None
        if known is not None:
            history = History(read, *known, is_canonical=True)
            history.shared = before.shared_with(read, history.entries.offsets[0]) if before else 0
        else:
            history = read_history(read, task_id, keys, earlier=before, memory=self._memory)
        if earlier and before is not earlier.history_beside(version):  # not all of it was as it had been read
            history = read_history(read, task_id, keys, memory=self._memory)
        return history

    def history_beside(self, version: Version) -> History | None:
        """What was loaded, if it can still be read, and beside the file of that version."""
        if self._file is None:
            return None
        now = version_from(os.fstat(self._file.fileno()))
        # Not the ctime: whoever renamed another file over this one has changed it.
        is_unchanged = any(loaded and now.is_renamed(loaded) for loaded in self._versions.values())
        return self._history if is_unchanged and now.inode != version.inode else None


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Name the file in what is said of it."""
    try:
        yield
    except SnapshotError as error:
        detail = f"{path}: {error.detail}" if error.detail else path
        raise type(error)(error.message, detail) from error
