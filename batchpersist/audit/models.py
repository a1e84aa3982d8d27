"""An audit's plain data: its options, the kinds of findings, the status of a run, the report."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from typing import Generic, NamedTuple, TypeVar

from ..errors import UsageError
from ..exit_codes import ExitCode
from ..models import DEFAULT_KEYS, Keys
from ..option_checks import Options
from ..options import NODE_LIMIT, POOL_RUNS, LockPolicy, check_limit
from ..paths import Layout, check_roots

PAUSE_SECONDS = 2.0
"""Between two checks: longer than an orchestrator waits for a task's lock (about 1.5 s)."""


@dataclass(frozen=True, repr=False)
class AuditOptions(Options):
    """What an audit checks, and how. Picklable: every job carries it to its worker."""

    out_dir: str = "out"
    runs_dir: str = ".runs"
    keys: Keys = DEFAULT_KEYS
    tasks: tuple[str, ...] = ()
    """Shell patterns, any of which may match; empty: all tasks."""
    workers: int = 1
    pool_runs: int = POOL_RUNS
    """With fewer runs than this, the audit stays in this process."""
    pause_seconds: float = PAUSE_SECONDS
    """Before the second check, which has to confirm what the first one found."""
    stale_seconds: float = LockPolicy.stale_seconds
    """A younger lock file is never called stale."""
    max_snapshot_units: int | None = NODE_LIMIT
    """UTF-16 units of a snapshot: a longer one is a finding, and a repair writes none. None: no limit."""

    def __post_init__(self) -> None:
        """Raises UsageError for values with which an audit cannot run."""
        super().__post_init__()
        for name in ("out_dir", "runs_dir"):
            object.__setattr__(self, name, os.path.abspath(getattr(self, name)))
        if self.workers < 1:
            raise UsageError(f"at least one worker is needed, not {self.workers}")
        check_limit(self.max_snapshot_units)
        check_roots(self.out_dir, self.runs_dir)

    @property
    def layout(self) -> Layout:
        """Every path below the two roots."""
        return Layout(self.out_dir, self.runs_dir)

    def selects(self, task_id: str) -> bool:
        """Whether the audit checks this task."""
        return not self.tasks or any(fnmatchcase(task_id, glob) for glob in self.tasks)


class Severity(str, Enum):
    """What a kind of finding means for the result as a whole."""

    DIFFERENCE = "difference"
    UNCHECKED = "unchecked"
    """Something could not be checked, so nothing is known of it."""
    INFORMATION = "information"


class FindingKind(str, Enum):
    """Stable names: programs may rely on them."""

    NOT_PERSISTED = "not-persisted"
    MISSING_IN_SNAPSHOT = "missing-in-snapshot"
    MISSING_MANIFEST = "missing-manifest"
    CONTENT_DIFFERS = "content-differs"
    DUPLICATE_RUN = "duplicate-run"
    UNSORTED = "unsorted"
    WRONG_LAST_RUN_AT = "wrong-last-run-at"
    WRONG_ID = "wrong-id"
    INVALID_SNAPSHOT = "invalid-snapshot"
    INVALID_MANIFEST = "invalid-manifest"
    LACKS_KEYS = "lacks-keys"
    WRONG_FILE_TYPE = "wrong-file-type"
    UNSAFE_NAME = "unsafe-name"
    ORPHANED_TEMPORARY = "orphaned-temporary"
    STALE_LOCK = "stale-lock"
    SNAPSHOT_TOO_LONG = "snapshot-too-long"
    UNREADABLE = "unreadable"
    INVALID_SOURCE = "invalid-source"
    SNAPSHOT_NEAR_LIMIT = "snapshot-near-limit"
    ENRICHED = "enriched"
    OTHER_LAYOUT = "other-layout"
    FOREIGN_FILE = "foreign-file"

    @property
    def severity(self) -> Severity:
        """Whether it is a difference, could not be checked, or is only worth knowing."""
        if self in _UNCHECKED:
            return Severity.UNCHECKED
        return Severity.INFORMATION if self in _INFORMATION else Severity.DIFFERENCE


_UNCHECKED = (FindingKind.UNREADABLE, FindingKind.INVALID_SOURCE)

_INFORMATION = (
    FindingKind.SNAPSHOT_NEAR_LIMIT,
    FindingKind.ENRICHED,
    FindingKind.OTHER_LAYOUT,
    FindingKind.FOREIGN_FILE,
)


class Finding(NamedTuple):
    """One thing that an audit found; equal in two checks only where both saw the same."""

    kind: FindingKind
    task_id: str
    """Empty for what belongs to no task."""
    run_id: str
    """Empty for what concerns a task as a whole."""
    path: str
    """Of the file or folder in question."""
    detail: str = ""
    """What is wrong with it, where the kind does not say it all."""
    evidence: bytes = b""
    """A digest of what was compared: while a run is being written it differs from check to check."""


K = TypeVar("K", bound=Hashable)

SAMPLES = 5
"""So many findings of each group are kept to be named in the report."""


class FindingCounter(Generic[K]):
    """How many findings there are of each group, and the first few of them."""

    def __init__(self) -> None:
        self.counts: Counter[K] = Counter()
        self.samples: dict[K, list[Finding]] = defaultdict(list)
        """The first ``SAMPLES`` of each group."""

    def add(self, group: K, finding: Finding) -> None:
        """Count a finding, and keep it if it is among the first of its group."""
        self.counts[group] += 1
        if len(self.samples[group]) < SAMPLES:
            self.samples[group].append(finding)


class RunStatus(str, Enum):
    """The result for one run, by the sign that ``--combined`` writes."""

    SAME = "="
    """On all sides, with texts from which JavaScript reads the same."""
    ENRICHED = "~"
    """On all sides; some texts have further members at their end."""
    SOURCE_ONLY = "+"
    MISSING = "-"
    """Missing on one side, the snapshot or the manifest."""
    DIFFERS = "*"
    UNCHECKED = "!"
    """One side could not be read, or is another run."""

    @property
    def is_complete(self) -> bool:
        """Whether the run is on all sides with the same content; nothing has to confirm that."""
        return self in (RunStatus.SAME, RunStatus.ENRICHED)


@dataclass(repr=False)
class AuditReport:
    """What an audit found."""

    tasks: int = 0
    runs: int = 0
    """Runs that are on any side."""
    findings: FindingCounter[FindingKind] = field(default_factory=FindingCounter)
    interrupted: bool = False
    unknown_suffixes: dict[str, int] = field(default_factory=dict)
    """Files in the sources that were skipped for their names, by suffix."""

    def __repr__(self) -> str:
        counts = {kind.value: count for kind, count in self.counts.items()}
        return (
            f"AuditReport(tasks={self.tasks}, runs={self.runs}, counts={counts}, exit_code={self.exit_code})"
        )

    @property
    def counts(self) -> Counter[FindingKind]:
        """How many findings there are of each kind."""
        return self.findings.counts

    @property
    def differences(self) -> int:
        """How many findings are differences."""
        return self._count(Severity.DIFFERENCE)

    @property
    def unchecked(self) -> int:
        """How many findings are of something that could not be checked."""
        return self._count(Severity.UNCHECKED)

    def _count(self, severity: Severity) -> int:
        return sum(count for kind, count in self.counts.items() if kind.severity is severity)

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to compare."""
        return not (self.runs or self.counts)

    @property
    def exit_code(self) -> ExitCode:
        """5: something differs. 3: nothing does, but something could not be checked. 0: neither."""
        if self.differences:
            return ExitCode.DIFFERENCES
        return ExitCode.SOME_FAILED if self.unchecked else ExitCode.SUCCESS
