"""What a comparison measures on: the runs in its sources, and the histories that their tasks have already."""

from __future__ import annotations

import os
import shutil
import stat
from array import array
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from ..context import RunContext
from ..errors import ComparisonStoppedError, MeasurementError, ScanStoppedError, UsageError
from ..index.scan import scan_sources
from ..paths import Layout
from ..plan import Plan, make_plan
from ..sources import discover
from ..wording import rough_duration
from ..workers import WorkerPool
from . import document
from .options import CompareOptions, Variant

if TYPE_CHECKING:
    import pyarrow as pa


class Survey:
    """The rows of the sources, what the first so many of them would write, and the real roots' histories."""

    def __init__(self, index: pa.Table, options: CompareOptions) -> None:
        self._index = index
        self._options = options
        self._real = Layout(os.path.abspath(options.out_dir), os.path.abspath(options.runs_dir))
        whole = make_plan(index, options.selection, workers=1)
        self.rows = whole.rows.num_rows
        """Rows that match the selection, with those that a later one replaces."""
        self.runs = whole.selected
        self._by_task, self._by_run = _bytes_written(whole, self._real, with_history=options.with_history)

    def plan(self, rows: int) -> Plan:
        """What a batch does of the first ``rows`` that match."""
        return make_plan(self._index, replace(self._options.selection, limit=rows), workers=1)

    def history(self) -> document.History:
        """What exists in the real roots for the runs."""
        tasks = self.plan(self.rows).rows["task_id"].unique().to_pylist()
        sizes = [size for task_id in tasks if (size := history_size(self._real, task_id))]
        return document.History(copied=self._options.with_history, tasks=len(sizes), bytes=sum(sizes))

    def copy_histories(self, rows: int, copy: Layout) -> None:
        """Copy what the real roots have of the first ``rows``, as ``copy_histories`` does it."""
        plan = self.plan(rows).rows
        tasks, runs = (plan[name].to_pylist() for name in ("task_id", "run_id"))
        copy_histories(self._real, copy, dict.fromkeys(tasks), zip(tasks, runs, strict=True))

    def written(self, variant: Variant) -> Sequence[int]:
        """Bytes of snapshots that 1, 2, 3 ... rows write.

        A commit writes its task's snapshot whole: with one for each run, the whole history each time.
        """
        return self._by_run if variant.commit == "run" else self._by_task


def survey_sources(
    sources: Sequence[str], options: CompareOptions, spool: str, context: RunContext
) -> Survey:
    """Scan the sources; ``spool`` is a folder for what the scan sets aside.

    Raises SourceMissingError, UsageError (also where no run matches), ComparisonStoppedError, and
    MeasurementError where the time ends before the scan does.
    """
    try:
        with closing(WorkerPool(max(options.workers))) as pool:
            scan_tasks = discover(sources, context)
            index = scan_sources(scan_tasks, pool, options.keys, spool, context)
        if index.cut_short:
            raise ScanStoppedError
    except ScanStoppedError:
        if context.should_stop():
            raise ComparisonStoppedError from None
        limit = rough_duration(options.max_time_seconds)
        raise MeasurementError(f"{limit} are too short to scan the sources: allow more time") from None
    survey = Survey(index.take_table(), options)
    if not survey.rows:
        raise UsageError("no run in the sources matches: there is nothing to compare")
    return survey


def _bytes_written(plan: Plan, real: Layout, *, with_history: bool) -> tuple[array[int], array[int]]:
    """Bytes of snapshots that so many rows write, by their number: a commit a task, and a commit a run."""
    import pyarrow.compute as pc

    rows = plan.rows.take(pc.sort_indices(plan.rows["row"]))
    history: dict[str, int] = {}
    by_task, by_run = array("q"), array("q")
    tasks, runs = 0, 0
    for task_id, length in zip(rows["task_id"].to_pylist(), rows["length"].to_pylist(), strict=True):
        if task_id not in history:
            history[task_id] = history_size(real, task_id) if with_history else 0
            tasks += history[task_id]
        history[task_id] += length
        tasks += length
        runs += history[task_id]
        by_task.append(tasks)
        by_run.append(runs)
    return by_task, by_run


_NOWHERE = "a-link-in-the-real-root"
"""Where copies of links lead. The engine refuses links; one into the real root could still be followed."""


def copy_histories(real: Layout, copy: Layout, tasks: Iterable[str], runs: Iterable[tuple[str, str]]) -> None:
    """Copy the snapshots and legacy states of tasks, and the manifests of runs ``(task_id, run_id)``.

    Files and folders keep their permission bits. Nothing is opened for writing in the real root, and no
    lock taken: snapshots are replaced as a whole, so each copy is a whole one. Raises OSError, also
    where one cannot be read.
    """
    copied: dict[str, str] = {}
    for task_id in tasks:
        if _make_folder(real.task_dir(task_id), copy.task_dir(task_id), copied):
            _copy_file(real.snapshot(task_id), copy.snapshot(task_id))
            _copy_file(real.legacy_state(task_id), copy.legacy_state(task_id))
    for task_id, run_id in runs:
        of_task = _make_folder(real.task_runs_dir(task_id), copy.task_runs_dir(task_id), copied)
        if of_task and _make_folder(real.run_dir(task_id, run_id), copy.run_dir(task_id, run_id), copied):
            _copy_file(real.manifest(task_id, run_id), copy.manifest(task_id, run_id))
    for target, path in reversed(copied.items()):  # last, since some may not be written to
        shutil.copymode(path, target)


def history_size(real: Layout, task_id: str) -> int:
    """Bytes of what a task's first commit builds on."""
    for path in (real.snapshot(task_id), real.legacy_state(task_id)):
        try:
            return os.lstat(path).st_size
        except OSError:
            continue
    return 0


def _make_folder(path: str, target: str, copied: dict[str, str]) -> bool:
    """Make a folder like ``path``, and note it in ``copied``; False where that is no folder, or a link."""
    if target in copied:
        return True
    found = _file_mode(path)
    if found is not None and not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if stat.S_ISLNK(found):
            os.symlink(_NOWHERE, target)
        elif stat.S_ISDIR(found):
            os.mkdir(target)
            copied[target] = path
    return target in copied


def _copy_file(path: str, target: str) -> None:
    found = _file_mode(path)
    if found is None or os.path.lexists(target):
        return
    if stat.S_ISLNK(found):
        os.symlink(_NOWHERE, target)
    elif stat.S_ISREG(found):
        try:
            shutil.copy2(path, target)
        except OSError as error:  # it names the first path only, but the second may be at fault
            raise OSError(error.errno, error.strerror, f"{path} -> {target}") from error


def _file_mode(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
