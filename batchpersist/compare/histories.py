"""What stands of the tasks already, copied so that every measured batch finds the same."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable

from ..layout import Layout

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
