"""The scratch folder of a comparison: where it lies, and that it is removed whatever happens."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import UsageError
from ..locks import KernelLock, Timeout
from ..storage.fsync import nearest_folder

_log = logging.getLogger(__name__)

PREFIX = ".batchpersist-compare-"
"""With a dot in front: no source that is a folder reads what is in it."""

_LOCK = "lock"


@contextmanager
def scratch_folder(parent: str, *, keep: bool = False) -> Iterator[str]:
    """A new folder below ``parent``, removed at the end, also when an exception passes through.

    Folders that killed comparisons left there are removed first: nobody holds the locks on them. ``keep``:
    the folder stays, and its lock goes, so that no later comparison removes it. Raises OSError where
    it cannot be made.
    """
    _remove_abandoned(parent)
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


def _remove_abandoned(parent: str) -> None:
    with os.scandir(parent) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(PREFIX)]
    for folder in left:
        path = os.path.join(folder, _LOCK)
        if not os.path.isfile(path):  # kept on request, or created a moment ago
            continue
        try:
            with KernelLock(path, timeout=0):
                _log.debug("%s: removed, since the comparison that made it was killed", folder)
                remove(folder)
        except (Timeout, OSError) as error:
            _log.debug("%s: not removed: %s", folder, error)


def default_parent(runs_dir: str) -> str:
    """The folder above a runs-dir (above its target, if it is a link), or the nearest existing one above.

    Raises UsageError where the runs-dir is a mount point: the folder above is on another file system,
    and the comparison would measure that.
    """
    runs_dir = os.path.realpath(runs_dir)
    parent = nearest_folder(os.path.dirname(runs_dir))
    if os.path.isdir(runs_dir) and os.stat(runs_dir).st_dev != os.stat(parent).st_dev:
        raise UsageError(f"{runs_dir} is a file system of its own: name a folder on it with --scratch")
    return parent


def file_system(path: str) -> str:
    """The kind of file system that a path is on, e.g. ``ext4``; ``unknown`` where the system does not say."""
    import psutil

    path = os.path.join(os.path.realpath(path), "")
    found = ("", "unknown")
    with suppress(OSError, psutil.Error):
        for mounted in psutil.disk_partitions(all=True):
            point = os.path.join(mounted.mountpoint, "")
            if path.startswith(point) and len(point) >= len(found[0]):
                found = (point, mounted.fstype)
    return found[1]
