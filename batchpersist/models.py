"""Plain, picklable data that travels between the packages; no I/O."""

from __future__ import annotations

import builtins
import re
from collections.abc import MutableSequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Literal, NamedTuple


@dataclass(frozen=True)
class Keys:
    """The names under which a run carries its task, its own id and its completion time."""

    task: str = "taskId"
    run: str = "runId"
    time: str = "timestamp"


DEFAULT_KEYS = Keys()


class RunKeys(NamedTuple):
    """What identifies and orders a completed run. Timestamps compare as strings."""

    task_id: str
    run_id: str
    timestamp: str


class Side(IntEnum):
    """The outcome of one write of a pair."""

    NOT_ATTEMPTED = 0
    PERSISTED = 1
    UNCHANGED = 2
    FAILED = 3
    LOCKED = 4
    """Snapshot only: the task's lock could not be acquired."""


class Durability(str, Enum):
    """What is on disk when a run is reported as persisted (docs/formats.md)."""

    NONE = "none"
    BATCH = "batch"
    FILE = "file"


_ERRNO_NAME = re.compile(r"\[(E[A-Z0-9]+)\]")


def failure_type(kind: type[BaseException]) -> str:
    """What ``Failure.type`` is for an exception of this very class, in every file and process."""
    return kind.__name__


class Failure(NamedTuple):
    """An exception as data. Equal causes share ``type`` and ``message``; ``detail`` differs."""

    type: str
    """``failure_type`` of its class."""
    message: str
    """An OSError's begins with the name of its errno: ``[ENOSPC] No space left on device``."""
    detail: str

    def is_a(self, kind: builtins.type[BaseException]) -> bool:
        """Whether the exception was of this very class."""
        return self.type == failure_type(kind)

    @property
    def errno_name(self) -> str:
        """``ENOSPC``, say; "" where the exception was no OSError with an errno."""
        found = _ERRNO_NAME.match(self.message)
        return found[1] if found else ""

    def __str__(self) -> str:
        return f"{self.message}: {self.detail}" if self.detail else self.message


class Work(str, Enum):
    """What a shard writes of its rows: both sides, or one of them for a task split over workers."""

    PAIR = "pair"
    SNAPSHOT = "snapshot"
    MANIFEST = "manifest"


class Shard(NamedTuple):
    """A contiguous range of the plan's rows that one worker persists in one go."""

    number: int
    work: Work
    start: int
    stop: int
    size: int
    """Bytes of the payloads, for sorting: largest first."""


class Commit(NamedTuple):
    """What a shard did to one task's snapshot."""

    task_id: str
    runs: int
    side: Side
    seconds: float
    size: int
    """Bytes written: 0 where the file was left as it is."""
    fingerprint: bytes = b""
    """Of the snapshot, packed, if it is regular and certain to hold all of the runs that have not failed."""


@dataclass
class ShardOutcome:
    """What a worker returns for a shard. Sequences are one item a row of the shard, in row order."""

    shard: Shard
    snapshot: MutableSequence[int]
    """``Side`` values; NOT_ATTEMPTED throughout in a manifest shard (and the other way round)."""
    manifest: MutableSequence[int]
    snapshot_seconds: MutableSequence[float]
    """Seconds of the commit that carried the run."""
    manifest_seconds: MutableSequence[float]
    pair_seconds: MutableSequence[float]
    """What the run's pair took: its slower side, or both sides where they are written in turn."""
    manifest_bytes: MutableSequence[int]
    snapshot_failures: dict[int, Failure] = field(default_factory=dict)
    """By row number within the shard."""
    manifest_failures: dict[int, Failure] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    manifest_fingerprints: bytearray = field(default_factory=bytearray)
    """``FINGERPRINT_BYTES`` a row: of the manifest that holds the run's text. Empty: not asked for."""
    bytes_read: int = 0
    pair_wall: float = 0.0
    """Seconds until both sides of the shard's groups, started together, had settled."""
    sum_if_sequential: float = 0.0
    """Seconds the same groups would have taken with one side after the other: never less."""
    pid: int = 0
    started: float = 0.0
    """Seconds since the epoch."""
    finished: float = 0.0
    cpu_seconds: float = 0.0
    journal_entry: bytes = b""
    """Its line of the journal (``records.journal``)."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds of all its threads by phase (``profiling``)."""
    syncs: int = 0
    """Calls of fsync and syncfs."""
    sync_failed: bool = False
    """What its files hold on disk is not known: they may look right all the same."""
    defect: bool = False
    """Failed by an error of this package's own."""


def place_of(source: str, line: int) -> str:
    """Where a person finds it: ``night.jsonl:7``, or the file alone where no line was reached."""
    return f"{source}:{line}" if line else source


class Reject(NamedTuple):
    """One invalid input: it is not a completed run, or it is a source that cannot be read (to its end)."""

    source: str
    line: int
    """The line (or row) reached; 0 where nothing could be read."""
    failure: Failure


class SourceCounts(NamedTuple):
    """What the scan of one source, or of one range of it, found."""

    runs: int
    rejects: int
    other_events: int
    other_manifests: int
    bytes_read: int
    is_lasting: bool = True
    """Its rows point to bytes that outlast the batch."""


OTHER_SUFFIXES = "(other)"
_NAMED_SUFFIXES = 20


@dataclass
class SkippedCounts:
    """What a scan skipped."""

    other_manifests: int = 0
    """Manifests of another schema."""
    ignored_files: int = 0
    """Of no readable suffix, or not a file at all."""
    incomplete: int = 0
    """Run folders of the orchestrator without a summary."""
    unknown_suffixes: dict[str, int] = field(default_factory=dict)
    """Of ``ignored_files``: how many have which suffix. After a few suffixes, the others count as one."""

    def add_skipped(self, more: SkippedCounts) -> None:
        self.other_manifests += more.other_manifests
        self.ignored_files += more.ignored_files
        self.incomplete += more.incomplete
        known = self.unknown_suffixes
        for suffix, files in more.unknown_suffixes.items():
            name = suffix if suffix in known or len(known) < _NAMED_SUFFIXES else OTHER_SUFFIXES
            known[name] = known.get(name, 0) + files


@dataclass
class ScanTotals(SkippedCounts):
    """What a scan came across, apart from the runs themselves."""

    discovered: int = 0
    """Runs found, the invalid ones included."""
    other_events: int = 0
    bytes_read: int = 0
    """Of sources that were taken from the cache, too."""
    other_rejects: int = 0
    """Of ``discovered``: invalid ones that are not wanted."""
    cached_sources: int = 0
    """Files whose runs came from the cache."""


RetryKind = Literal["failed", "locked", "invalid"]


@dataclass(frozen=True)
class RetryOf:
    """What of an earlier batch is tried again."""

    batch_id: str
    only: tuple[RetryKind, ...]
    """``locked``: the task's lock could not be acquired; ``failed``: a side failed for another reason;
    ``invalid``: input that is not a run."""
