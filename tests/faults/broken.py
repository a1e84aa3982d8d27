"""Broken variants of the command, for the negative controls: the proofs must find their faults.

``python broken.py VARIANT ARGUMENTS...`` is the command ``batchpersist`` without one of its promises.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any


def write_in_place() -> None:
    """Writes files under their final names, as the orchestrator does manifests."""
    from batchpersist.storage import atomic_write

    def stage(
        target: str, chunks: Iterable[bytes], _group: Any, *, mode: int | None = None
    ) -> atomic_write.StagedFile:
        data = b"".join(chunks)
        fd = os.open(target, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, mode or 0o666)
        try:
            os.write(fd, data)
            status = os.fstat(fd)
        finally:
            os.close(fd)
        return atomic_write.StagedFile(target, target, status)

    publish, discard = atomic_write.StagedFile.publish, atomic_write.StagedFile.discard

    def publish_others(self: atomic_write.StagedFile, group: Any) -> None:
        if self.temporary != self.target:
            publish(self, group)

    def discard_others(self: atomic_write.StagedFile) -> None:
        if self.temporary != self.target:
            discard(self)

    _replace_everywhere("stage", atomic_write.stage, stage)
    atomic_write.StagedFile.publish = publish_others  # type: ignore[method-assign]
    atomic_write.StagedFile.discard = discard_others  # type: ignore[method-assign]


def ignore_errors() -> None:
    """Ignores each error of a rename, and reports the run as persisted."""
    from batchpersist.storage import atomic_write

    publish = atomic_write.StagedFile.publish

    def swallow(self: atomic_write.StagedFile, group: Any) -> None:
        try:
            publish(self, group)
        except OSError:
            self.discard()

    atomic_write.StagedFile.publish = swallow  # type: ignore[method-assign]


def skip_locks() -> None:
    """Takes no lock and does not check that the snapshot is still the one that it has merged with."""
    from batchpersist.locks import task_lock
    from batchpersist.snapshots import base_file

    def enter(self: task_lock.TaskLock) -> task_lock.TaskLock:
        time.sleep(0.05)  # time for another writer in between
        return self

    task_lock.TaskLock.__enter__ = enter  # type: ignore[method-assign]
    task_lock.TaskLock.__exit__ = lambda self, *_: None  # type: ignore[method-assign]
    base_file.Baseline.is_current = lambda self: True  # type: ignore[method-assign]


def break_locks() -> None:
    """Treats each lock as stale."""
    from batchpersist.locks import stale_locks

    stale_locks.is_stale = lambda seen, stale_seconds: True


def _replace_everywhere(name: str, before: object, after: object) -> None:
    """Replace a function in all modules that have imported it."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("batchpersist") and getattr(module, name, None) is before:
            setattr(module, name, after)


VARIANTS: dict[str, Callable[[], None]] = {
    "in-place": write_in_place,
    "forgetful": ignore_errors,
    "lockless": skip_locks,
    "breaks-locks": break_locks,
}

if __name__ == "__main__":
    import batchpersist.cli.run
    import batchpersist.persist.worker  # noqa: F401
    from batchpersist.cli.main import main

    VARIANTS[sys.argv.pop(1)]()
    main()
