"""A sync group that records its calls in order, and can fail at one of them."""

from __future__ import annotations

import errno
import os

from batchpersist.storage.fsync import SyncGroup


class RecordingGroup(SyncGroup):
    def __init__(self, fail_at: str = "") -> None:
        self.calls: list[tuple[str, str]] = []
        self._fail_at = fail_at

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def written(self, fd: int) -> None:
        self._note("written", os.readlink(f"/proc/self/fd/{fd}"))

    def created(self, directory: str) -> None:
        self._note("created", directory)

    def sync_data(self) -> None:
        self._note("sync_data", "")

    def renamed(self, target: str) -> None:
        self._note("renamed", target)

    def sync_names(self) -> None:
        self._note("sync_names", "")

    def _note(self, name: str, what: str) -> None:
        if name == self._fail_at:
            raise OSError(errno.EIO, "Input/output error")
        self.calls.append((name, what))
