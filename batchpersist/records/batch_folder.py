"""The folder of a batch: its record, tables, figures and progress, and which batch is the latest.

``<runs-dir>/.batchpersist/batches/<batch-id>/`` is there from a batch's start. Only the batch
that holds the batch lock writes in it; any process may read it, also while the batch is running.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from ..contract.json_text import encode
from ..errors import BatchMissingError
from ..events import Progress
from ..models import Durability, RetryOf
from ..paths import Layout
from ..storage import atomic_write

State = Literal["running", "finished", "stopped", "timed_out", "interrupted", "failed"]
LATEST = "latest"


class BatchRecord(msgspec.Struct, kw_only=True):
    """``batch.json``: what a batch is, and how far it came. ``running`` may also mean that it was killed."""

    schema_version: Literal[2] = 2
    """Of the record and of the journal beside it; those of other versions are not read."""
    batch_id: str
    sequence: int = 0
    """Orders the batches of a root, whatever their clocks said: new at the start and at the end of each."""
    state: State
    job: str
    """Equal for the same work: the same command again continues a batch that did not finish."""
    parts: int = 1
    """How often it was begun or continued."""
    pid: int
    host: str
    started_at: str
    finished_at: str | None = None
    exit_code: int | None = None
    """None while it runs, and where a signal or an error ended it."""
    retry_of: RetryOf | None = None
    """What of an earlier batch it retries."""
    version: str
    cwd: str
    boot: str | None = None
    """Where a part of it synced nothing: the boot with which what is journaled ends."""
    shard: str = ""
    """Its share of the tasks (``Layout.shard``); empty: all of them."""
    config: dict[str, Any]


@dataclass(frozen=True)
class BatchFolder:
    """The folder of one batch."""

    path: str

    @property
    def batch_id(self) -> str:
        return os.path.basename(self.path)

    @property
    def record(self) -> str:
        return os.path.join(self.path, "batch.json")

    @property
    def has_record(self) -> bool:
        return os.path.isfile(self.record)

    @property
    def journal(self) -> str:
        return os.path.join(self.path, "journal.jsonl")

    @property
    def spool(self) -> str:
        """Folder for what the batch needs only while it runs."""
        return os.path.join(self.path, "spool")

    @property
    def beats(self) -> str:
        """Folder of the workers' heartbeats."""
        return os.path.join(self.spool, "beats")

    @property
    def calls(self) -> str:
        """Folder in which the workers of a cluster mark what they have begun (``workers.shard_call``)."""
        return os.path.join(self.spool, "calls")

    @property
    def outcomes(self) -> str:
        """The outcome table (docs/metrics.md), as Parquet."""
        return os.path.join(self.path, "outcomes.parquet")

    @property
    def progress(self) -> str:
        """How far the batch is; gone when it has ended."""
        return os.path.join(self.path, "progress.json")

    @property
    def metrics(self) -> str:
        return os.path.join(self.path, "metrics.json")

    @property
    def rejects(self) -> str:
        """Every invalid line, as Parquet: source, line, type, message, detail."""
        return os.path.join(self.path, "rejects.parquet")

    @property
    def shards(self) -> str:
        """Which worker persisted which shard, and when, as Parquet."""
        return os.path.join(self.path, "shards.parquet")

    def write_record(self, record: BatchRecord, durability: Durability = Durability.NONE) -> None:
        """Replace ``batch.json``, whole or not at all; raises OSError."""
        # Names of files that are not UTF-8 are lone surrogates here, which msgspec does not write or read.
        text = encode(msgspec.to_builtins(record))
        atomic_write.write(self.record, text + b"\n", durability)

    def read_record(self) -> BatchRecord:
        """Raises OSError, and BatchMissingError where the file is not a record of this version."""
        path = self.record
        try:
            with open(path, "rb") as file:
                return msgspec.convert(json.load(file), BatchRecord)
        except (ValueError, RecursionError) as error:
            raise BatchMissingError(f"not the record of a batch: {path}: {error}") from None


def batch_name(batch_id: str) -> str:
    """What a person calls a batch."""
    return f"batch {batch_id}"


def list_batches(layout: Layout) -> list[BatchFolder]:
    """All batches of a root that left a record, oldest first. Raises OSError.

    Their sequence numbers order them: an id has the time of a clock, which may have been wrong. A batch
    whose record cannot be read comes first.
    """
    try:
        names = os.listdir(layout.batches)
    except FileNotFoundError:
        return []
    folders = [BatchFolder(os.path.join(layout.batches, name)) for name in sorted(names)]
    folders = [folder for folder in folders if not os.path.islink(folder.path) and folder.has_record]
    return sorted(folders, key=_sequence)


def next_sequence(layout: Layout) -> int:
    """A sequence number that is above those of all batches of a root. Raises OSError."""
    return 1 + max(map(_sequence, list_batches(layout)), default=0)


def _sequence(folder: BatchFolder) -> int:
    record = find_record(folder)
    return record.sequence if record is not None else 0


def find_record(folder: BatchFolder) -> BatchRecord | None:
    """A batch's record; None where it cannot be read."""
    try:
        return folder.read_record()
    except (OSError, BatchMissingError):
        return None


def reports_of_batches(layout: Layout) -> set[str]:
    """Absolute paths of the reports that the options of a root's batches name.

    Those of which the record cannot be read are left out.
    """
    try:
        records = list(filter(None, map(find_record, list_batches(layout))))
    except OSError:
        return set()
    return {
        os.path.normpath(os.path.join(record.cwd, path))
        for record in records
        for path in map(record.config.get, ("metrics", "outcomes", "prometheus_textfile"))
        if isinstance(path, str)
    }


def find_batch(layout: Layout, name: str = LATEST) -> BatchFolder:
    """The latest batch, or the one whose id begins with ``name``.

    Raises BatchMissingError where there is none, or more than one, RootMissingError; OSError.
    """
    layout.check_runs_dir()
    batches = list_batches(layout)
    if name == LATEST:
        if not batches:
            raise BatchMissingError(f"no batch has worked on {layout.runs_dir} yet")
        return batches[-1]
    found = [batch for batch in batches if batch.batch_id.startswith(name)]
    if len(found) != 1:
        many = "more than one batch is" if found else "there is no batch"
        raise BatchMissingError(f"{many} named {name} in {layout.batches}")
    return found[0]


def drop_oldest(layout: Layout, keep: int, needed: Collection[str]) -> None:
    """Remove all but the ``keep`` latest batches of this shard, if it is one; what cannot be removed stays.

    So do those that are ``needed``. Those of others are left alone: they may be at work.
    """
    own = [batch for batch in list_batches(layout) if shard_of(batch) == layout.shard]
    for batch in own[:-keep]:
        if batch.batch_id not in needed:
            shutil.rmtree(batch.path, ignore_errors=True)


def shard_of(folder: BatchFolder) -> str:
    """The partition that a batch works on (``Layout.shard``); "" where its record cannot be read."""
    record = find_record(folder)
    return record.shard if record is not None else ""


WRITE_SECONDS = 1.0
"""Between two writes of the file: enough for a person who watches, and it costs next to nothing."""

SOONEST_RATE = 0.2
"""Seconds of a phase before which its rate says nothing."""

_log = logging.getLogger(__name__)


class ProgressRecord(msgspec.Struct, kw_only=True):
    """``progress.json``: how far a batch is. Moments are seconds since the epoch."""

    phase: Literal["scan", "compare", "settle"]
    done: int
    """Runs of this phase."""
    total: int | None
    """None while it is not known."""
    failed: int
    """Runs that failed or were invalid so far."""
    resumed: int = 0
    """Of ``done``: those that an earlier part of the batch had persisted."""
    phase_started_at: float
    updated_at: float

    @property
    def runs_per_second(self) -> float:
        """Of this phase, by the clock of the batch; 0 in its first moments."""
        seconds = self.updated_at - self.phase_started_at
        return (self.done - self.resumed) / seconds if seconds >= SOONEST_RATE else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Of this phase, at its rate so far; None where that or the total is unknown."""
        rate = self.runs_per_second
        return (self.total - self.done) / rate if self.total is not None and rate else None


class ProgressFile:
    """Keeps a batch's ``progress.json``, from its start on; for one thread.

    Each state is whole, at most one a second is written, and none is synced. A file that cannot be written
    is a warning, once: the batch continues without it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._phase = ""
        self._started = self._latest = time.time()
        self._next = 0.0
        self._warned = False

    def write(self, event: Progress) -> None:
        """Write the event, unless the last one is less than a second old; a new phase is always written."""
        moment = time.monotonic()
        if event.phase != self._phase:  # it began with the last event of the one before
            self._phase, self._started = event.phase, self._latest
            self._next = moment
        self._latest = now = time.time()
        if moment < self._next:
            return
        self._next = moment + WRITE_SECONDS
        record = ProgressRecord(**event._asdict(), phase_started_at=self._started, updated_at=now)
        try:
            atomic_write.write(self._path, msgspec.json.encode(record), Durability.NONE)
        except OSError as error:
            if not self._warned:
                _log.warning("the progress of the batch cannot be written: %s", error)
            self._warned = True


def read_progress(path: str) -> ProgressRecord | None:
    """None where there is none, or it cannot be read."""
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=ProgressRecord)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
