"""The journal of a batch: what has settled, a line a shard, so that an interrupted batch can be continued.

A line is written when its shard's group has been synced, so what it says to be persisted stands,
even after a power cut (with the default durability). The journal itself is synced seldom: work
whose line was lost is only looked at once more. Runs are named by task, run and the digest of
their text, never by their place: sources may have been moved, or grown, until the batch goes on.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from ..files.durability import sync_file
from ..models import Durability, Failure, Side, Work

DIGEST_BYTES = 16

SYNC_SECONDS = 1.0
"""At most so much work is looked at once more after a power cut."""

_log = logging.getLogger(__name__)


def digest_of(text: bytes) -> bytes:
    """What tells a run's content from any other."""
    return blake2b(text, digest_size=DIGEST_BYTES).digest()


class RunEntry(msgspec.Struct, array_like=True, gc=False):
    """A run of which at least one side was written."""

    run_id: str
    digest: bytes
    """Of its canonical text."""
    snapshot: Side
    manifest: Side
    manifest_stamp: bytes
    """Of the manifest as it was written (``stamps``); empty where none was taken."""


class TaskEntry(msgspec.Struct, array_like=True):
    """A task's runs in a shard."""

    task_id: str
    snapshot_stamp: bytes
    """Of the snapshot that holds all of them; empty where none was taken."""
    runs: list[RunEntry]


class ShardEntry(msgspec.Struct, tag_field="entry", tag="shard"):
    """A shard that a worker settled. What was unchanged or failed is only counted."""

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
    batch goes on without, for a journal only saves work.
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
    """The entries, in order; a line that is none (torn by a crash) is passed over. Raises OSError."""
    decoder = msgspec.json.Decoder(ShardEntry | QuarantineEntry)
    with open(path, "rb") as file:
        for line in file:
            try:
                yield decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue


def _write(descriptor: int, data: bytes) -> None:
    done = os.write(descriptor, data)
    while done < len(data):
        done += os.write(descriptor, memoryview(data)[done:])
