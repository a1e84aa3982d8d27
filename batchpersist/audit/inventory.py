"""The inventory of the two roots: which tasks they have, and what else is in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from ..contract.identifiers import LOCK_SUFFIXES, check_task_id
from ..contract.runs_root import NOT_TASKS
from ..errors import UnsafeIdentifierError
from ..locks import is_stale_lock
from ..paths import OWN_FOLDER, Layout
from ..records.batch_folder import reports_of_batches
from ..storage.file_reader import WrongFileTypeError, list_folder
from ..storage.temp_files import is_orphan, is_temporary
from .models import AuditOptions, Finding, FindingKind

METRICS = "metrics.json"
"""A batch writes it into the out-dir by default."""

RUN_BYTES = 2_500
"""Of a run, about: before a task is read, only the number of its folders is known."""


@dataclass
class Inventory:
    """What the two roots hold."""

    tasks: dict[str, int] = field(default_factory=dict)
    """Task id -> about how many bytes there are to read of it, in the order of their names."""
    runs: int = 0
    """About how many runs there are, where the file system counts a folder's folders."""
    findings: list[Finding] = field(default_factory=list)


def take_inventory(options: AuditOptions) -> Inventory:
    """List both roots; one that does not exist is empty. Raises OSError where one cannot be listed."""
    layout, inventory = options.layout, Inventory()
    tasks: set[str] = set()
    reports = {os.path.join(layout.out_dir, METRICS), *reports_of_batches(layout)}
    for entry in list_folder(layout.out_dir, follow=True):
        is_report = entry.path in reports and not entry.is_dir(follow_symlinks=False)
        if not is_report and _is_task(entry, inventory, options):
            tasks.add(entry.name)
    for entry in list_folder(layout.runs_dir, follow=True):
        if entry.name == OWN_FOLDER:
            inventory.findings += _check_own_folder(layout)
        elif entry.name.endswith(LOCK_SUFFIXES) and not entry.is_dir(follow_symlinks=False):
            inventory.findings += _check_lock(entry, options)
        elif entry.path in reports or (entry.name in NOT_TASKS and entry.name not in tasks):
            continue
        elif _is_task(entry, inventory, options):
            tasks.add(entry.name)
    for task_id in sorted(tasks):
        size, runs = _estimate(layout, task_id)
        inventory.tasks[task_id] = size
        inventory.runs += runs
    return inventory


def check_other_file(entry: os.DirEntry[str], task_id: str = "", run_id: str = "") -> Iterator[Finding]:
    """The finding, if any, for an entry of a folder that belongs neither to a task nor to a run."""
    if is_temporary(entry.name):
        with suppress(OSError):  # its writer has just renamed it
            if is_orphan(entry):
                yield Finding(FindingKind.ORPHANED_TEMPORARY, task_id, run_id, entry.path)
    else:
        yield Finding(FindingKind.FOREIGN_FILE, task_id, run_id, entry.path)


def unsafe_name(entry: os.DirEntry[str], error: UnsafeIdentifierError, task_id: str = "") -> Finding:
    """The finding for a folder whose name must not be an id."""
    return Finding(FindingKind.UNSAFE_NAME, task_id, "", entry.path, error.message)


def _is_task(entry: os.DirEntry[str], inventory: Inventory, options: AuditOptions) -> bool:
    # A link counts as a task's folder here: the check of the task reports it.
    is_candidate = entry.is_dir(follow_symlinks=False) or entry.is_symlink()
    if not is_candidate or entry.name.startswith("."):
        inventory.findings += check_other_file(entry)
        return False
    try:
        check_task_id(entry.name)
    except UnsafeIdentifierError as error:
        inventory.findings.append(unsafe_name(entry, error))
        return False
    return options.selects(entry.name)


def _check_own_folder(layout: Layout) -> Iterator[Finding]:
    """Temporary files of dead processes in batchpersist's own folder; nothing else in it is checked."""
    folders = [layout.own_dir]
    for folder in folders:
        try:
            entries = list_folder(folder)
        except (OSError, WrongFileTypeError) as error:
            detail = error.message if isinstance(error, WrongFileTypeError) else error.strerror or ""
            yield Finding(FindingKind.UNREADABLE, "", "", folder, detail)
            continue
        for entry in entries:
            if folder == layout.own_dir and entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            if is_temporary(entry.name):
                yield from check_other_file(entry)


def _check_lock(entry: os.DirEntry[str], options: AuditOptions) -> Iterator[Finding]:
    task_id = entry.name.removesuffix(".acquire").removesuffix(".lock")
    if not options.selects(task_id):
        return
    try:
        if is_stale_lock(entry.path, options.stale_seconds):
            yield Finding(FindingKind.STALE_LOCK, task_id, "", entry.path)
    except OSError as error:
        yield Finding(FindingKind.UNREADABLE, task_id, "", entry.path, error.strerror or "")


def _estimate(layout: Layout, task_id: str) -> tuple[int, int]:
    """About how many bytes and runs a task has, without listing or reading anything."""
    runs = 0
    size = _file_size(layout.snapshot(task_id)) or _file_size(layout.legacy_state(task_id))
    with suppress(OSError):
        status = os.stat(layout.task_runs_dir(task_id), follow_symlinks=False)
        runs = max(0, status.st_nlink - 2)  # the number of folders in it; btrfs and others do not count them
    return max(size, runs * RUN_BYTES), runs


def _file_size(path: str) -> int:
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
