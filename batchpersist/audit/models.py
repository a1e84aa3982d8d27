"""What an audit can find: the kinds, and one thing found (docs/audit.md)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable
from enum import Enum
from typing import Generic, NamedTuple, TypeVar


class Weight(str, Enum):
    """What a kind of finding means for the answer as a whole."""

    DIFFERENCE = "difference"
    UNCHECKED = "unchecked"
    """Something could not be looked at, so nothing is known of it."""
    INFORMATION = "information"


class Kind(str, Enum):
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
    def weight(self) -> Weight:
        if self in (Kind.UNREADABLE, Kind.INVALID_SOURCE):
            return Weight.UNCHECKED
        if self in (Kind.SNAPSHOT_NEAR_LIMIT, Kind.ENRICHED, Kind.OTHER_LAYOUT, Kind.FOREIGN_FILE):
            return Weight.INFORMATION
        return Weight.DIFFERENCE


class Finding(NamedTuple):
    """One thing found; equal at two looks only where both saw the same."""

    kind: Kind
    task_id: str
    """Empty for what belongs to no task."""
    run_id: str
    """Empty for what concerns a task as a whole."""
    path: str
    """Of the file or folder in question."""
    detail: str = ""
    """What is wrong with it, in words, where the kind does not say it all."""
    evidence: bytes = b""
    """A digest of what was compared: while a run is being written it differs from look to look."""


K = TypeVar("K", bound=Hashable)

SAMPLES = 5
"""Findings of a group that are kept to be named."""


class Tally(Generic[K]):
    """How many findings there are of each group, and the first few of them."""

    def __init__(self) -> None:
        self.counts: Counter[K] = Counter()
        self.samples: dict[K, list[Finding]] = defaultdict(list)
        """The first ``SAMPLES`` of each group."""

    def add(self, group: K, finding: Finding) -> None:
        """Count it, and keep it if it is among the first of its group."""
        self.counts[group] += 1
        if len(self.samples[group]) < SAMPLES:
            self.samples[group].append(finding)


class Sign(str, Enum):
    """How one run stands, as ``--combined`` writes it."""

    SAME = "="
    """On all sides, with texts that JavaScript reads alike."""
    ENRICHED = "~"
    """On all sides; some texts have further members at their end."""
    SOURCE_ONLY = "+"
    MISSING = "-"
    """On one side, the snapshot or the manifest; elsewhere it stands."""
    DIFFERS = "*"
    UNCHECKED = "!"
    """One side could not be read, or not as this run."""
