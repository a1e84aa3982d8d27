"""The folder that a comparison works in: made, held, and removed whatever happens."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import UsageError
from ..locking.kernellock import KernelLock, Timeout

PREFIX = ".batchpersist-compare-"
"""With a dot in front: no source that is a folder reads what is in it."""

_LOCK = "lock"


@contextmanager
def scratch_folder(parent: str, *, keep: bool = False) -> Iterator[str]:
    """A new folder below ``parent``, removed at the end, also when an exception passes through.

    What a comparison that was killed left there is removed first: the lock on its folder has ended
    with it. ``keep``: the folder stays, and is never taken for such a one. Raises OSError where it
    cannot be made.
    """
    _sweep(parent)
    folder = os.path.join(parent, PREFIX + secrets.token_hex(4))
    os.mkdir(folder, 0o700)
    lock = KernelLock(os.path.join(folder, _LOCK))
    try:
        with lock:
            yield folder
    finally:
        if keep:
            os.unlink(lock.lock_file)
        else:
            remove(folder)


def remove(folder: str) -> None:
    """Remove a folder and all that is in it, if it is there. What cannot be removed stays.

    Folders of histories have the permissions of the real ones, which may be none to write.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.isdir(folder):
        for path, names, _ in os.walk(folder):
            for name in names:
                inner = os.path.join(path, name)
                if not os.path.islink(inner):
                    os.chmod(inner, 0o700)
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: str) -> None:
    with os.scandir(parent) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(PREFIX)]
    for folder in left:
        path = os.path.join(folder, _LOCK)
        if not os.path.isfile(path):  # kept by its owner's wish, or made this very moment
            continue
        try:
            with KernelLock(path, timeout=0):
                remove(folder)
        except (Timeout, OSError):
            continue


def place_beside(runs_dir: str) -> str:
    """The folder above a runs-dir (where a link leads, if it is one), or the nearest one above that is there.

    Raises UsageError where the runs-dir is a file system of its own: beside it is another one.
    """
    runs_dir = os.path.realpath(runs_dir)
    parent = os.path.dirname(runs_dir)
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    if os.path.isdir(runs_dir) and os.stat(runs_dir).st_dev != os.stat(parent).st_dev:
        raise UsageError(f"{runs_dir} is a file system of its own: name a folder on it with --scratch")
    return parent
