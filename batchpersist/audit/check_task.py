"""One look at one task: its snapshot, its manifests and, where given, its source, run by run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from ..errors import InvalidRunError, ItemError, MissingKeyError, SnapshotError, UnsafeIdentifierError
from ..runs.identifiers import check_run_id
from ..runs.jsontext import reads_alike, unnest
from ..runs.orchestrator_root import KEPT_BESIDE_SNAPSHOT
from ..runs.run_texts import RunCheck
from ..snapshots.baseline import Baseline
from ..snapshots.history import History
from ..snapshots.snapshottext import ENTRY_LEVELS
from .comparison import UNKNOWN, Sides, verdict
from .files import WrongFileTypeError, list_folder
from .inventory import beside
from .models import Finding, Kind, Sign
from .options import AuditOptions
from .run_files import Manifests, finding_of
from .snapshots import Snapshot, repeated_runs
from .summaries import Summaries

_TASK_FILES = {"runs.json", *KEPT_BESIDE_SNAPSHOT}


class Share(NamedTuple):
    """A part of a task's runs: a task of very many is looked at by several workers."""

    task_id: str
    number: int = 0
    """The first one also tells what concerns the task as a whole."""
    of: int = 1

    def has(self, run_id: str) -> bool:
        return self.of == 1 or crc32(run_id.encode("utf-8", "surrogatepass")) % self.of == self.number


@dataclass
class TaskLook:
    """What one look found."""

    share: Share
    runs: int = 0
    """Of which anything was seen, on any side."""
    findings: list[Finding] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    """Ids of runs that stand everywhere with one text; only kept where they are asked for."""
    enriched: list[str] = field(default_factory=list)
    """Ids of runs of which some texts have more members; likewise."""
    marked: dict[str, Sign] = field(default_factory=dict)
    """How the others stand."""


class Sources(NamedTuple):
    """What the sources hold of one task."""

    run_ids: Collection[str] = ()
    text: Callable[[str], bytes | None] = lambda _run_id: None
    """Run id -> its canonical text in the source, None where it has none. Raises ItemError and OSError."""


NO_SOURCES = Sources()


class Look:
    """Takes one look at a share of a task. Reads only, takes no lock, and follows no link."""

    def __init__(
        self,
        share: Share,
        options: AuditOptions,
        sources: Sources = NO_SOURCES,
        *,
        only: Collection[str] | None = None,
        keep_same: bool = False,
    ) -> None:
        """``only``: the runs to look at; None: all of the share."""
        self._share = share
        self._task_id = share.task_id
        self._options = options
        self._layout = options.layout
        self._keys = options.keys
        self._check = RunCheck(options.keys)
        self._sources = sources
        self._only = only
        self._keep_same = keep_same
        self._look = TaskLook(share)
        found = self._look.findings.append
        self._manifests = Manifests(self._layout, self._task_id, self._check, found)
        self._summaries = Summaries(self._layout, self._task_id, self._check, found)

    def take(self) -> TaskLook:
        """Nothing is raised for what cannot be read: that is a finding."""
        self._manifests.list_folders(self._of_the_task)
        self._summaries.list_folders(self._of_the_task)
        seen: set[str] = set()
        with closing(Baseline()) as baseline:
            is_read = self._task_folder_is_sound() and self._look_at_snapshot(baseline, seen)
            absent = None if is_read else UNKNOWN
            others = {*self._sources.run_ids, *self._manifests.folders, *self._summaries.folders} - seen
            for run_id in sorted(others):
                if self._is_asked(run_id):
                    self._look_at_run(run_id, absent)
        return self._look

    def _is_asked(self, run_id: str) -> bool:
        return self._share.has(run_id) and (self._only is None or run_id in self._only)

    def _of_the_task(self, finding: Finding) -> None:
        """What concerns the task as a whole is told with one of its shares."""
        if self._share.number == 0:
            self._look.findings.append(finding)

    def _found(self, kind: Kind, run_id: str, path: str, detail: str = "") -> None:
        self._look.findings.append(Finding(kind, self._task_id, run_id, path, detail))

    def _task_folder_is_sound(self) -> bool:
        path = self._layout.task_dir(self._task_id)
        try:
            entries = list_folder(path)
        except (OSError, WrongFileTypeError) as error:
            self._of_the_task(finding_of(error, self._task_id, "", path))
            return False
        for entry in entries:
            if entry.name not in _TASK_FILES:
                for finding in beside(entry, self._task_id):
                    self._of_the_task(finding)
        return True

    def _look_at_snapshot(self, baseline: Baseline, seen: set[str]) -> bool:
        """Look at the runs that have an entry, and add them to ``seen``; False: not all could be read."""
        snapshot = Snapshot(baseline, self._options, self._task_id)
        for finding in snapshot.findings:
            self._of_the_task(finding)
        if snapshot.history is None:
            return False
        seen.update(snapshot.history.entries.run_ids)
        try:
            self._look_at_entries(snapshot.history, snapshot.path)
        except (SnapshotError, OSError) as error:
            self._found(Kind.UNREADABLE, "", snapshot.path, str(error))
            return False
        return True

    def _look_at_entries(self, history: History, path: str) -> None:
        repeated = repeated_runs(history.entries.run_ids)
        several: dict[str, list[bytes]] = {}
        for run_id, text in self._texts(history):
            if run_id in repeated:
                several.setdefault(run_id, []).append(text)
            else:
                self._look_at_run(run_id, text, path)
        for run_id, texts in several.items():
            self._look_at_run(run_id, one_of(texts, self._manifests.raw(run_id)), path)

    def _texts(self, history: History) -> Iterator[tuple[str, bytes]]:
        run_ids = history.entries.run_ids
        if self._only is None:
            for run_id, text in zip(run_ids, history.each_text(), strict=True):
                if self._share.has(run_id):
                    yield run_id, unnest(text, ENTRY_LEVELS)
        else:
            for entry, run_id in enumerate(run_ids):
                if self._is_asked(run_id):
                    yield run_id, unnest(history.text(entry), ENTRY_LEVELS)

    def _look_at_run(self, run_id: str, entry: bytes | None, path: str = "") -> None:
        """``path``: of the file that the entry stands in."""
        if path and not self._entry_is_sound(run_id, entry or b"", path):
            entry = UNKNOWN
        manifest = self._manifests.text(run_id, entry)
        known = manifest if entry in (None, UNKNOWN) else entry
        sides = Sides(self._source(run_id), self._summaries.text(run_id, known), entry, manifest)
        if sides.is_nowhere and not path:
            return  # a folder without a manifest
        self._look.runs += 1
        sign, findings = verdict(sides, self._task_id, run_id, self._layout)
        self._look.findings += findings
        if sign not in (Sign.SAME, Sign.ENRICHED):
            self._look.marked[run_id] = sign
        elif self._keep_same:
            (self._look.same if sign is Sign.SAME else self._look.enriched).append(run_id)

    def _entry_is_sound(self, run_id: str, entry: bytes, path: str) -> bool:
        try:
            check_run_id(run_id)
        except UnsafeIdentifierError as error:
            self._found(Kind.UNSAFE_NAME, run_id, path, error.message)
            return False
        try:
            if self._check.belongs(entry, self._task_id):
                return True
            self._found(Kind.WRONG_ID, run_id, path, f"an entry whose {self._keys.task} is not the task's")
        except MissingKeyError as error:
            self._found(Kind.LACKS_KEYS, run_id, path, str(error))
        return False

    def _source(self, run_id: str) -> bytes | None:
        try:
            return self._sources.text(run_id)
        except ItemError as error:
            self._found(Kind.UNREADABLE, run_id, error.detail, error.message)
        except OSError as error:
            self._found(Kind.UNREADABLE, run_id, str(error.filename or ""), error.strerror or "")
        return UNKNOWN


def one_of(texts: list[bytes], manifest: bytes | None) -> bytes:
    """Which of a run's several entries counts: the last one that is as the manifest, else the last one."""
    alike = [text for text in texts if manifest is not None and is_alike(text, manifest)]
    return (alike or texts)[-1]


def is_alike(text: bytes, other: bytes) -> bool:
    """Whether JavaScript reads the same from a run's text and from what may be none."""
    try:
        return reads_alike(text, other)
    except InvalidRunError:
        return False
