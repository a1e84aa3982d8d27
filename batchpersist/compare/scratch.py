"""The folder that a comparison works in, and the copies of histories that it holds."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..errors import UsageError
from ..locks import KernelLock, Timeout
from ..paths import Layout

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


_NOWHERE = "a-link-in-the-real-root"
"""A link is copied as a link, which the engine refuses as well; but never as one into the real root."""


def copy_histories(real: Layout, copy: Layout, tasks: Iterable[str], runs: Iterable[tuple[str, str]]) -> None:
    """Copy the snapshots and legacy states of tasks, and the manifests of runs ``(task_id, run_id)``.

    Files and folders keep their permission bits. Nothing is opened for writing in the real root, and no
    lock taken: snapshots are replaced as a whole, so that what is read is one. Raises OSError, also
    where one cannot be read.
    """
    made: dict[str, str] = {}
    for task_id in tasks:
        if _make_folder(real.task_dir(task_id), copy.task_dir(task_id), made):
            _copy(real.snapshot(task_id), copy.snapshot(task_id))
            _copy(real.legacy_state(task_id), copy.legacy_state(task_id))
    for task_id, run_id in runs:
        of_task = _make_folder(real.task_runs_dir(task_id), copy.task_runs_dir(task_id), made)
        if of_task and _make_folder(real.run_dir(task_id, run_id), copy.run_dir(task_id, run_id), made):
            _copy(real.manifest(task_id, run_id), copy.manifest(task_id, run_id))
    for target, path in reversed(made.items()):  # last, since some may not be written to
        shutil.copymode(path, target)


def history_size(real: Layout, task_id: str) -> int:
    """Bytes of what a task's first commit builds on."""
    for path in (real.snapshot(task_id), real.legacy_state(task_id)):
        try:
            return os.lstat(path).st_size
        except OSError:
            continue
    return 0


def _make_folder(path: str, target: str, made: dict[str, str]) -> bool:
    """Make a folder like ``path``, and note it in ``made``; False where that is none, or a link."""
    if target in made:
        return True
    found = _mode(path)
    if found is not None and not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if stat.S_ISLNK(found):
            os.symlink(_NOWHERE, target)
        elif stat.S_ISDIR(found):
            os.mkdir(target)
            made[target] = path
    return target in made


def _copy(path: str, target: str) -> None:
    found = _mode(path)
    if found is None or os.path.lexists(target):
        return
    if stat.S_ISLNK(found):
        os.symlink(_NOWHERE, target)
    elif stat.S_ISREG(found):
        try:
            shutil.copy2(path, target)
        except OSError as error:  # it may be either's fault, and is told with the name of the first only
            raise OSError(error.errno, error.strerror, f"{path} -> {target}") from error


def _mode(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
