"""One check of one task: its snapshot, its manifests and, where given, its sources, run by run."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from ..contract.entry_order import repeated_runs
from ..contract.identifiers import check_run_id
from ..contract.json_text import unnest
from ..contract.run_parser import RunChecker, choose_entry
from ..contract.runs_root import KEPT_BESIDE_SNAPSHOT
from ..contract.snapshot_text import ENTRY_LEVELS
from ..errors import ItemError, MissingKeyError, SnapshotError, UnsafeIdentifierError
from ..persist import PayloadReader
from ..plan import ShardRows
from ..snapshots import Baseline, History
from ..storage.file_reader import WrongFileTypeError, list_folder
from .check_run import UNREADABLE, RunTexts, compare_texts
from .inventory import check_other_file
from .models import AuditOptions, Finding, FindingKind, RunStatus
from .run_files import RunFiles, finding_of
from .task_snapshot import Snapshot

_TASK_FILES = {"runs.json", *KEPT_BESIDE_SNAPSHOT}


class TaskSlice(NamedTuple):
    """A task, or some of its runs: several workers check a task that has very many."""

    task_id: str
    number: int = 0
    """The first slice also reports what concerns the task as a whole."""
    of: int = 1

    def has(self, run_id: str) -> bool:
        return self.of == 1 or crc32(run_id.encode("utf-8", "surrogatepass")) % self.of == self.number


@dataclass
class TaskResult:
    """What one check of a slice found."""

    slice: TaskSlice
    runs: int = 0
    """Runs that are on any side."""
    findings: list[Finding] = field(default_factory=list)
    statuses: dict[str, RunStatus] = field(default_factory=dict)
    """By run id; that of a complete run only where all are asked for."""

    @property
    def incomplete(self) -> dict[str, RunStatus]:
        """The statuses that a second check has to confirm."""
        return {run_id: status for run_id, status in self.statuses.items() if not status.is_complete}


class TaskSource:
    """The runs of one task in the sources; of a run that comes several times the last one counts."""

    def __init__(self, rows: ShardRows, task: range, reader: PayloadReader) -> None:
        """``task``: the task's rows. ``reader``: open for as long as texts are asked for."""
        self._rows = rows
        self._row_of = {rows.run_ids[row]: row for row in task if not rows.is_superseded(row)}
        self._reader = reader

    @property
    def run_ids(self) -> Collection[str]:
        return self._row_of.keys()

    def text(self, run_id: str) -> bytes | None:
        """The run's canonical text; None where the sources do not have it. Raises ItemError and OSError."""
        row = self._row_of.get(run_id)
        return None if row is None else self._reader.text(self._rows.keys(row), *self._rows.location(row))


def check_runs(task_id: str, run_ids: Collection[str], options: AuditOptions) -> list[Finding]:
    """Check some runs of a task, and the task as a whole, once.

    Returns what one check finds: nothing has confirmed it. Raises nothing for what cannot be read.
    """
    return TaskCheck(TaskSlice(task_id), options, run_ids=run_ids).run().findings


class TaskCheck:
    """Checks one slice of a task once. Reads only, takes no lock, and follows no link."""

    def __init__(
        self,
        task: TaskSlice,
        options: AuditOptions,
        source: TaskSource | None = None,
        *,
        run_ids: Collection[str] | None = None,
        all_statuses: bool = False,
    ) -> None:
        """``run_ids``: the runs to check; None: all of the slice."""
        self._slice = task
        self._task_id = task.task_id
        self._options = options
        self._layout = options.layout
        self._checker = RunChecker(options.keys)
        self._source = source
        self._run_ids = run_ids
        self._all_statuses = all_statuses
        self._result = TaskResult(task)
        self._files = RunFiles(self._layout, self._task_id, self._checker, self._result.findings)

    def run(self) -> TaskResult:
        """Raises nothing for what cannot be read: that is a finding."""
        self._add_for_task(self._files.list_folders())
        checked: set[str] = set()
        with closing(Baseline()) as baseline:
            is_read = self._check_folder() and self._check_snapshot(baseline, checked)
            in_snapshot = None if is_read else UNREADABLE
            in_source = self._source.run_ids if self._source else ()
            for run_id in sorted({*in_source, *self._files.run_ids} - checked):
                if self._is_wanted(run_id):
                    self._check_run(run_id, in_snapshot)
        return self._result

    def _is_wanted(self, run_id: str) -> bool:
        return self._slice.has(run_id) and (self._run_ids is None or run_id in self._run_ids)

    def _add_for_task(self, findings: list[Finding]) -> None:
        """What concerns the task as a whole is reported once, with its first slice."""
        if self._slice.number == 0:
            self._result.findings += findings

    def _add(self, kind: FindingKind, run_id: str, path: str, detail: str = "") -> None:
        self._result.findings.append(Finding(kind, self._task_id, run_id, path, detail))

    def _check_folder(self) -> bool:
        """Whether the folder of the snapshot could be listed."""
        path = self._layout.task_dir(self._task_id)
        try:
            entries = list_folder(path)
        except (OSError, WrongFileTypeError) as error:
            self._add_for_task([finding_of(error, self._task_id, "", path)])
            return False
        for entry in entries:
            if entry.name not in _TASK_FILES:
                self._add_for_task(list(check_other_file(entry, self._task_id)))
        return True

    def _check_snapshot(self, baseline: Baseline, checked: set[str]) -> bool:
        """Check the runs that have an entry, and add their ids; False: not all entries could be read."""
        snapshot = Snapshot(baseline, self._options, self._task_id)
        self._add_for_task(snapshot.findings)
        if snapshot.history is None:
            return False
        checked.update(snapshot.history.entries.run_ids)
        try:
            self._check_entries(snapshot.history, snapshot.path)
        except (SnapshotError, OSError) as error:
            self._add(FindingKind.UNREADABLE, "", snapshot.path, str(error))
            return False
        return True

    def _check_entries(self, history: History, path: str) -> None:
        repeated = repeated_runs(history.entries.run_ids)
        entries: dict[str, list[bytes]] = {}
        for run_id, text in self._texts(history):
            if run_id in repeated:
                entries.setdefault(run_id, []).append(text)
            else:
                self._check_run(run_id, text, path)
        for run_id, texts in entries.items():
            counts = choose_entry(texts, self._files.manifest_bytes(run_id))
            self._check_run(run_id, texts[counts], path)

    def _texts(self, history: History) -> Iterator[tuple[str, bytes]]:
        run_ids = history.entries.run_ids
        if self._run_ids is None:
            for run_id, text in zip(run_ids, history.each_text(), strict=True):
                if self._slice.has(run_id):
                    yield run_id, unnest(text, ENTRY_LEVELS)
        else:
            for entry, run_id in enumerate(run_ids):
                if self._is_wanted(run_id):
                    yield run_id, unnest(history.text(entry), ENTRY_LEVELS)

    def _check_run(self, run_id: str, entry: bytes | None, path: str = "") -> None:
        """``path``: of the file that has the entry."""
        if path and not self._check_entry(run_id, entry or b"", path):
            entry = UNREADABLE
        manifest = self._files.manifest(run_id, entry)
        known = manifest if entry in (None, UNREADABLE) else entry
        texts = RunTexts(self._source_text(run_id), self._files.summary(run_id, known), entry, manifest)
        if texts.is_nowhere and not path:
            return  # a folder without a manifest
        self._result.runs += 1
        status, findings = compare_texts(texts, self._task_id, run_id, self._layout)
        self._result.findings += findings
        if self._all_statuses or not status.is_complete:
            self._result.statuses[run_id] = status

    def _check_entry(self, run_id: str, entry: bytes, path: str) -> bool:
        """Whether an entry has a safe id, and is of this task."""
        try:
            check_run_id(run_id)
            if self._checker.is_of_task(entry, self._task_id):
                return True
        except UnsafeIdentifierError as error:
            self._add(FindingKind.UNSAFE_NAME, run_id, path, error.message)
        except MissingKeyError as error:
            self._add(FindingKind.LACKS_KEYS, run_id, path, str(error))
        else:
            detail = f"an entry whose {self._options.keys.task} is not the task's"
            self._add(FindingKind.WRONG_ID, run_id, path, detail)
        return False

    def _source_text(self, run_id: str) -> bytes | None:
        try:
            return self._source.text(run_id) if self._source else None
        except ItemError as error:
            self._add(FindingKind.UNREADABLE, run_id, error.detail, error.message)
        except OSError as error:
            self._add(FindingKind.UNREADABLE, run_id, str(error.filename or ""), error.strerror or "")
        return UNREADABLE
