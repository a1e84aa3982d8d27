"""The journal of a batch: a line for each persisted shard, so that an interrupted batch can be resumed.

A line is written when its shard's group has been synced, so what it calls persisted is on the disk,
even after a power cut (with the default durability). It saves the next part no work: that compares each
run's files with its text all the same, and counts what is unchanged as the journal has it. So the
journal itself is synced seldom. Runs are named by task and run, never by their place: sources may have
been moved, or grown, until the batch is continued.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from ..models import Durability, Failure, ShardOutcome, Side, Work
from ..plan import ShardRows
from ..storage.fsync import sync_file

SYNC_SECONDS = 1.0
"""At most so much work is missing from the journal after a power cut."""

_log = logging.getLogger(__name__)


class RunEntry(msgspec.Struct, array_like=True, gc=False):
    """A run of which at least one side was written."""

    run_id: str
    snapshot: Side
    manifest: Side


class TaskEntry(msgspec.Struct, array_like=True):
    """A task's runs in a shard."""

    task_id: str
    runs: list[RunEntry]


class ShardEntry(msgspec.Struct, tag_field="entry", tag="shard"):
    """A shard that a worker has done. Unchanged and failed runs are only counted."""

    number: int
    work: Work
    runs: int
    unchanged: int
    failed: int
    started: float
    """Seconds since the epoch."""
    finished: float
    pid: int
    tasks: list[TaskEntry]


class QuarantineEntry(msgspec.Struct, tag_field="entry", tag="quarantine"):
    """A run that its worker did not survive: not tried again by this batch, however often it is continued."""

    task_id: str
    run_id: str
    timestamp: str
    failure: Failure


class Journal:
    """Appends to a batch's journal; for one thread. A context manager that closes it.

    A journal that cannot be written ends there, with a warning: what it holds stays true, and the
    batch continues without it.
    """

    def __init__(self, path: str, durability: Durability) -> None:
        """Raises OSError where the file cannot be opened. A torn last line is ended first."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._path = path
        self._descriptor = os.open(path, flags, 0o666)
        self._synced = 0.0 if durability is not Durability.NONE else float("inf")
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            self.append(b"")

    def append(self, line: bytes) -> None:
        """Write a line of ``encode_entry``; never raises OSError."""
        if self._descriptor < 0:
            return
        try:
            _write(self._descriptor, line + b"\n")
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                sync_file(self._descriptor)
                self._synced = time.monotonic()
        except OSError as error:
            _log.warning("the journal ends here, %s: %s", self._path, error)
            self.close()

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def encode_entry(entry: ShardEntry | QuarantineEntry) -> bytes:
    """As a line without its end."""
    return msgspec.json.encode(entry)


def read_journal(path: str) -> Iterator[ShardEntry | QuarantineEntry]:
    """The entries, in order; a line that is not an entry (torn by a crash) is ignored. Raises OSError."""
    decoder = msgspec.json.Decoder(ShardEntry | QuarantineEntry)
    with open(path, "rb") as file:
        for line in file:
            try:
                yield decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue


_Pair = tuple[int, int]

_SIDES = tuple(Side)
"""By their numbers: to call ``Side`` for each run would cost ten times as much."""


def shard_entry(outcome: ShardOutcome, rows: ShardRows) -> bytes:
    """The journal's line for a shard whose pairs have settled; ``rows`` are the shard's."""
    sides = Counter(zip(outcome.snapshot, outcome.manifest, strict=True))
    tasks = [
        TaskEntry(task, list(_written_runs(outcome, rows, span)))
        for task, span in rows.tasks(range(len(rows)))
        if _has_persisted(outcome, slice(span.start, span.stop))
    ]
    return encode_entry(
        ShardEntry(
            number=outcome.shard.number,
            work=outcome.shard.work,
            runs=len(rows),
            unchanged=_sum(sides, lambda pair: Side.PERSISTED not in pair and Side.UNCHANGED in pair),
            failed=_sum(sides, lambda pair: Side.FAILED in pair or Side.LOCKED in pair),
            started=outcome.started,
            finished=outcome.finished,
            pid=outcome.pid,
            tasks=[task for task in tasks if task.runs],
        )
    )


def _sum(sides: Counter[_Pair], condition: Callable[[_Pair], bool]) -> int:
    return sum(count for pair, count in sides.items() if condition(pair))


def _has_persisted(outcome: ShardOutcome, rows: slice) -> bool:
    """A quick check: of a mostly unchanged shard it spares the loop over its runs."""
    return Side.PERSISTED in outcome.snapshot[rows] or Side.PERSISTED in outcome.manifest[rows]


def _written_runs(outcome: ShardOutcome, rows: ShardRows, span: range) -> Iterator[RunEntry]:
    for row in span:
        sides = _SIDES[outcome.snapshot[row]], _SIDES[outcome.manifest[row]]
        if Side.PERSISTED in sides and not rows.is_superseded(row):
            yield RunEntry(rows.run_ids[row], *sides)


def _write(descriptor: int, data: bytes) -> None:
    done = os.write(descriptor, data)
    while done < len(data):
        done += os.write(descriptor, memoryview(data)[done:])
