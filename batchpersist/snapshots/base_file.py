"""The existing snapshot that a commit merges with: opened safely, and recognized again later."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import SnapshotError
from ..models import Keys
from ..paths import Layout
from ..storage.file_reader import FileBytes, NotRegularFileError, open_regular, read_blocks
from ..storage.fingerprint import Fingerprint
from .entry_positions import PositionCache
from .history import History, NotAFileError, NotASnapshotError, empty_history, read_history


class Baseline:
    """The state of a task's files at one moment, as far as a commit builds on it.

    The file is kept open until ``close``: as long as it is, no other file can get its inode
    number, so that an equal fingerprint means the same content.
    """

    def __init__(self) -> None:
        self.mode: int | None = None
        """The permission bits of the snapshot; None where there is none."""
        self.fingerprint: Fingerprint | None = None
        """The snapshot's, from before it was read; None where there is none."""
        self._fingerprints: dict[str, Fingerprint | None] = {}
        self._descriptor: int | None = None

    def is_current(self) -> bool:
        """Whether the task's files are still as they were read."""
        return all(Fingerprint.at(path) == found for path, found in self._fingerprints.items())

    def close(self) -> None:
        """Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def read(self, size: int, offset: int) -> bytes:
        """Bytes of the snapshot that was opened, whether or not it could be loaded; else none."""
        if self.fingerprint is None or self._descriptor is None:
            return b""
        return os.pread(self._descriptor, size, offset)

    def content(self) -> Iterator[bytes]:
        """All of that, in blocks."""
        return read_blocks(self)

    def load(self, layout: Layout, task_id: str, keys: Keys, *, cache: bool = True) -> History:
        """Read the task's snapshot; where it has none, its legacy state if that is one, else nothing.

        Once only. ``cache``: take the positions of a long snapshot from the cache instead of reading
        it. Raises SnapshotError (a snapshot that cannot be read as one) and OSError; then, as well, the
        caller closes.
        """
        snapshot = layout.snapshot(task_id)
        with _naming(snapshot):
            found = self._open(snapshot)
            if found is not None:
                file, self.fingerprint = found
                positions = PositionCache(layout, task_id, keys).read(self.fingerprint) if cache else None
                if positions is not None:
                    return History(file, *positions, is_canonical=True)
                return read_history(file, task_id, keys)
        return self.load_legacy(layout, task_id, keys)

    def load_legacy(self, layout: Layout, task_id: str, keys: Keys) -> History:
        """Read the task's legacy state, even if it has a snapshot; nothing where it is none. As ``load``."""
        legacy = layout.legacy_state(task_id)
        with _naming(legacy):
            try:
                found = self._open(legacy)
                self.mode = None
                if found is not None:
                    history = read_history(found[0], task_id, keys)
                    history.further = b""  # of no meaning in a snapshot
                    return history
            except NotASnapshotError:
                pass  # the name also serves other purposes
        return empty_history()

    def _open(self, path: str) -> tuple[FileBytes, Fingerprint] | None:
        self._fingerprints[path] = None
        try:
            descriptor, status = open_regular(path)
        except FileNotFoundError:
            return None
        except NotRegularFileError as error:
            self._fingerprints[path] = Fingerprint.at(path)
            if error.errno == errno.ELOOP:
                raise SnapshotError("the snapshot is a symbolic link") from error
            raise NotAFileError("the snapshot is not a regular file") from error
        fingerprint = self._fingerprints[path] = Fingerprint.of(status)
        self._descriptor = descriptor
        self.mode = stat.S_IMODE(status.st_mode)
        return FileBytes(descriptor), fingerprint


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Name the file in a SnapshotError."""
    try:
        yield
    except SnapshotError as error:
        detail = f"{path}: {error.detail}" if error.detail else path
        raise type(error)(error.message, detail) from error
