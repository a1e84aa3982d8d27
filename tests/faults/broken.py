"""Deliberately broken variants of the command: what the proofs must find fault with.

``python broken.py VARIANT ARGUMENTS...`` is the command ``batchpersist`` with one of its promises taken out.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any


def in_place() -> None:
    """Writes files under their final names, as the orchestrator does manifests."""
    from batchpersist.files import atomic

    def stage(
        target: str, chunks: Iterable[bytes], _group: Any, *, mode: int | None = None
    ) -> atomic.StagedFile:
        data = b"".join(chunks)
        fd = os.open(target, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, mode or 0o666)
        try:
            os.write(fd, data)
            status = os.fstat(fd)
        finally:
            os.close(fd)
        return atomic.StagedFile(target, target, status)

    publish, discard = atomic.StagedFile.publish, atomic.StagedFile.discard

    def publish_others(self: atomic.StagedFile, group: Any) -> None:
        if self.temporary != self.target:
            publish(self, group)

    def discard_others(self: atomic.StagedFile) -> None:
        if self.temporary != self.target:
            discard(self)

    _everywhere("stage", atomic.stage, stage)
    atomic.StagedFile.publish = publish_others  # type: ignore[method-assign]
    atomic.StagedFile.discard = discard_others  # type: ignore[method-assign]


def forgetful() -> None:
    """Swallows every error of the system while it renames, and reports the run as persisted."""
    from batchpersist.files import atomic

    publish = atomic.StagedFile.publish

    def swallow(self: atomic.StagedFile, group: Any) -> None:
        try:
            publish(self, group)
        except OSError:
            self.discard()

    atomic.StagedFile.publish = swallow  # type: ignore[method-assign]


def lockless() -> None:
    """Takes no lock and does not look whether the snapshot is still the one it has merged with."""
    from batchpersist.locking import locks
    from batchpersist.snapshots import baseline

    def enter(self: locks.TaskLock) -> locks.TaskLock:
        time.sleep(0.05)  # so that others are sure to come in between
        return self

    locks.TaskLock.__enter__ = enter  # type: ignore[method-assign]
    locks.TaskLock.__exit__ = lambda self, *_: None  # type: ignore[method-assign]
    baseline.Baseline.is_current = lambda self: True  # type: ignore[method-assign]


def breaks_locks() -> None:
    """Takes every lock for stale, whoever holds it."""
    from batchpersist.locking import stalelock

    stalelock.is_stale = lambda seen, stale_seconds: True


def _everywhere(name: str, before: object, after: object) -> None:
    """Replace a function in all modules that have imported it."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("batchpersist") and getattr(module, name, None) is before:
            setattr(module, name, after)


VARIANTS: dict[str, Callable[[], None]] = {
    "in-place": in_place,
    "forgetful": forgetful,
    "lockless": lockless,
    "breaks-locks": breaks_locks,
}

if __name__ == "__main__":
    import batchpersist.cli.run
    import batchpersist.settling.settle  # noqa: F401
    from batchpersist.cli.main import main

    VARIANTS[sys.argv.pop(1)]()
    main()
