"""The two roots themselves: which tasks there are, and what else lies there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from ..batches.batchfolder import reports_of_batches
from ..errors import UnsafeIdentifierError
from ..files.temporaries import is_orphan, is_temporary
from ..layout import OWN_FOLDER, Layout
from ..locking.stalelock import is_stale_lock
from ..runs.identifiers import LOCK_SUFFIXES, check_task_id
from ..runs.orchestrator_root import NOT_TASKS
from .files import WrongFileTypeError, list_folder
from .models import Finding, Kind
from .options import AuditOptions

METRICS = "metrics.json"
"""A batch leaves it in the out-dir, unless told otherwise."""


@dataclass
class Rooms:
    """What the two roots hold."""

    tasks: dict[str, int] = field(default_factory=dict)
    """Task id -> about how many bytes there are to read of it, in the order of their names."""
    runs: int = 0
    """About how many runs there are, where the file system tells."""
    findings: list[Finding] = field(default_factory=list)


RUN_BYTES = 2_500
"""Of a run, about: what is known of a folder before it is read is how many folders are in it."""


def look_around(options: AuditOptions) -> Rooms:
    """List both roots; what does not exist is empty. Raises OSError where one cannot be listed."""
    layout, rooms = options.layout, Rooms()
    tasks: set[str] = set()
    reports = {os.path.join(layout.out_dir, METRICS), *reports_of_batches(layout)}
    for entry in list_folder(layout.out_dir, follow=True):
        is_report = entry.path in reports and not entry.is_dir(follow_symlinks=False)
        if not is_report and _is_task(entry, rooms, options):
            tasks.add(entry.name)
    for entry in list_folder(layout.runs_dir, follow=True):
        if entry.name == OWN_FOLDER:
            rooms.findings += _own(layout)
        elif entry.name.endswith(LOCK_SUFFIXES) and not entry.is_dir(follow_symlinks=False):
            rooms.findings += _lock(entry, options)
        elif entry.path in reports or (entry.name in NOT_TASKS and entry.name not in tasks):
            continue
        elif _is_task(entry, rooms, options):
            tasks.add(entry.name)
    for task_id in sorted(tasks):
        size, runs = _measure(layout, task_id)
        rooms.tasks[task_id] = size
        rooms.runs += runs
    return rooms


def beside(entry: os.DirEntry[str], task_id: str = "", run_id: str = "") -> Iterator[Finding]:
    """What is to be said of something that is neither a task's, nor a run's, nor a file of theirs."""
    if is_temporary(entry.name):
        with suppress(OSError):  # its writer has just renamed it
            if is_orphan(entry):
                yield Finding(Kind.ORPHANED_TEMPORARY, task_id, run_id, entry.path)
    else:
        yield Finding(Kind.FOREIGN_FILE, task_id, run_id, entry.path)


def unsafe(entry: os.DirEntry[str], error: UnsafeIdentifierError, task_id: str = "") -> Finding:
    return Finding(Kind.UNSAFE_NAME, task_id, "", entry.path, error.message)


def _is_task(entry: os.DirEntry[str], rooms: Rooms, options: AuditOptions) -> bool:
    may_be = (
        entry.is_dir(follow_symlinks=False) or entry.is_symlink()
    )  # whoever looks into it tells of a link
    if not may_be or entry.name.startswith("."):
        rooms.findings += beside(entry)
    else:
        try:
            check_task_id(entry.name)
            return options.selects(entry.name)
        except UnsafeIdentifierError as error:
            rooms.findings.append(unsafe(entry, error))
    return False


def _own(layout: Layout) -> Iterator[Finding]:
    """What the dead left in batchpersist's own folder: all else in there is its own affair."""
    folders = [layout.own_dir]
    for folder in folders:
        try:
            entries = list_folder(folder)
        except (OSError, WrongFileTypeError) as error:
            words = error.message if isinstance(error, WrongFileTypeError) else error.strerror or ""
            yield Finding(Kind.UNREADABLE, "", "", folder, words)
            continue
        for entry in entries:
            if folder == layout.own_dir and entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            if is_temporary(entry.name):
                yield from beside(entry)


def _lock(entry: os.DirEntry[str], options: AuditOptions) -> Iterator[Finding]:
    task_id = entry.name.removesuffix(".acquire").removesuffix(".lock")
    if not options.selects(task_id):
        return
    try:
        if is_stale_lock(entry.path, options.stale_seconds):
            yield Finding(Kind.STALE_LOCK, task_id, "", entry.path)
    except OSError as error:
        yield Finding(Kind.UNREADABLE, task_id, "", entry.path, error.strerror or "")


def _measure(layout: Layout, task_id: str) -> tuple[int, int]:
    """About how many bytes and runs there are of a task, without listing or reading anything."""
    runs = 0
    size = _size(layout.snapshot(task_id)) or _size(layout.legacy_state(task_id))
    try:
        status = os.stat(layout.task_runs_dir(task_id), follow_symlinks=False)
        runs = max(0, status.st_nlink - 2)  # of a folder: how many are in it; btrfs and others do not count
    except OSError:
        pass
    return max(size, runs * RUN_BYTES), runs


def _size(path: str) -> int:
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
