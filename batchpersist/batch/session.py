"""A batch from start to end: under the batch lock, in its folder; begun or resumed, journaled, closed."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING

from .. import __version__
from ..batch_job import BatchJob
from ..context import RunContext
from ..errors import WorkerDiedError
from ..events import BatchStarted, Event, Progress
from ..locks import BatchLock
from ..metrics.batch_report import check_writable
from ..metrics.build import BatchInfo
from ..metrics.schema import EndState
from ..models import Durability, Failure, ShardOutcome
from ..paths import Layout
from ..records.batch_folder import (
    BatchFolder,
    BatchRecord,
    ProgressFile,
    State,
    batch_name,
    drop_oldest,
    find_record,
    list_batches,
    next_sequence,
)
from ..records.journal import Journal, QuarantineEntry, encode_entry
from ..records.root_record import check_keys
from ..storage.atomic_write import make_root, refuse_links_in, working_folder
from ..storage.fingerprint import boot_id
from ..storage.fsync import warn_of_refusal
from ..storage.temp_files import sweep
from ..timestamps import moment_of, utc_text
from ..workers import WorkerPool
from .resume import read_journaled_runs

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)


@contextmanager
def open_session(job: BatchJob, pool: WorkerPool, context: RunContext) -> Iterator[BatchSession]:
    """Make the roots, take the batch lock, and begin or resume the batch. Closes ``pool`` before the lock.

    Raises what ``run_batch`` names; nothing is written where the lock is held or the keys are others.
    """
    layout, options = job.layout, job.options
    warn_of_refusal(options.durability)
    make_root(layout.runs_dir, options.durability)
    refuse_links_in(layout.own_dir)
    beginning = "a batch that has just begun"
    with (
        BatchLock(layout, beginning, wait=options.wait_seconds, context=context) as lock,
        closing(pool),
    ):
        check_keys(layout, options.keys)
        check_writable(job)
        session = BatchSession(job)
        lock.describe(session.name)
        with session:
            context.on_event(BatchStarted(session.batch_id, session.folder.path))
            yield session


def clear_dead_batches(layout: Layout) -> bool:
    """Remove spools and temporary files of dead batches; whether there are any such batches.

    The caller holds the batch lock: so each batch that says it is running is dead. With a partition's lock
    that is true of those of the same partition, for others may be at work. Temporary files beside
    snapshots and manifests are left to the workers that come there (``PersistOptions.sweep``).
    Raises OSError where the batches cannot be listed.
    """
    dead = False
    for folder in list_batches(layout):
        record = find_record(folder)
        if record is not None and record.state == "running" and layout.shard in ("", record.shard):
            dead = True
            _log.debug("batch %s is dead: its spool and temporary files are removed", folder.batch_id)
            shutil.rmtree(folder.spool, ignore_errors=True)
            sweep(folder.path)
    if dead:
        sweep(layout.out_dir)
        with os.scandir(layout.own_dir) as entries:
            for entry in entries:
                sweep(entry.path)
        sweep(layout.own_dir)
    return dead


class BatchSession:
    """For the holder of the batch lock. A context manager: a batch that leaves it by an exception has failed.

    Resumes the latest batch that did the same work (``BatchJob.digest``: roots, keys, selection, partition
    and sources) under its own id, if it did not finish. All other options change how the work is done, but
    not its result. Raises OSError where the folder cannot be made or written.
    """

    def __init__(self, job: BatchJob) -> None:
        layout, options = job.layout, job.options
        self._layout = layout
        self._options = options
        before = _unfinished(layout, job.digest) if options.resume else None
        self.started_at = datetime.now(timezone.utc)
        if before is not None:
            self.started_at = moment_of(before.started_at)
        self.record = BatchRecord(
            batch_id=before.batch_id if before else _new_id(self.started_at),
            sequence=next_sequence(layout),
            state="running",
            job=job.digest,
            parts=before.parts + 1 if before else 1,
            pid=os.getpid(),
            host=socket.gethostname(),
            started_at=utc_text(self.started_at),
            retry_of=options.retry_of,
            version=__version__,
            cwd=working_folder(),
            boot=boot_id() if options.durability is Durability.NONE else (before.boot if before else None),
            shard=layout.shard,
            config=job.config,
        )
        self.folder = BatchFolder(layout.batch(self.record.batch_id))
        self.after_crash = False
        """A batch died on this root, and may have left temporary files."""

    @property
    def batch_id(self) -> str:
        return self.record.batch_id

    @property
    def name(self) -> str:
        """What a person calls it, and by which the batch lock's holder is known."""
        return batch_name(self.batch_id)

    @property
    def is_resumed(self) -> bool:
        return self.record.parts > 1

    def follow(self, context: RunContext) -> RunContext:
        """A context that also keeps the batch's progress file."""
        progress = ProgressFile(self.folder.progress)

        def on_event(event: Event) -> None:
            if isinstance(event, Progress):
                progress.write(event)
            context.on_event(event)

        return replace(context, on_event=on_event)

    def info(self, state: EndState) -> BatchInfo:
        """What the metrics say of a batch that ends now."""
        record = self.record
        now = datetime.now(timezone.utc)
        return BatchInfo(
            record.batch_id, self.started_at, now, record.version, record.config, state, record.parts
        )

    def __enter__(self) -> BatchSession:
        self.after_crash = clear_dead_batches(self._layout)
        # A part that was killed before its record said "running" has left its spool.
        shutil.rmtree(self.folder.spool, ignore_errors=True)
        os.makedirs(self.folder.beats, exist_ok=True)
        self.journaled = read_journaled_runs(self.folder.journal) if self.is_resumed else None
        # From now on the journal may hold what a restart of the machine loses: this record, which says so,
        # must not be an older one then.
        self.folder.write_record(self.record, Durability.FILE if self.is_resumed else Durability.NONE)
        self._journal = Journal(self.folder.journal, self._options.durability)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()
        shutil.rmtree(self.folder.spool, ignore_errors=True)
        if self.record.state == "running":
            self.end("failed" if isinstance(error, Exception) else "interrupted", None)

    def record_shard(self, outcome: ShardOutcome, rows: pa.Table) -> None:
        """Write a shard to the journal; ``rows`` are the plan's."""
        if outcome.journal_entry:
            self._journal.append(outcome.journal_entry)
            return
        first = outcome.shard.start
        for row, failure in (outcome.snapshot_failures | outcome.manifest_failures).items():
            if failure.is_a(WorkerDiedError):
                self._quarantine(rows.slice(first + row, 1).to_pylist()[0], failure)

    def _quarantine(self, run: dict[str, str], failure: Failure) -> None:
        entry = QuarantineEntry(run["task_id"], run["run_id"], run["timestamp"], failure)
        self._journal.append(encode_entry(entry))

    def end(self, state: State, exit_code: int | None) -> None:
        """Record how the batch ended, and remove batches that are too old. Never raises OSError."""
        self.record.state, self.record.exit_code = state, exit_code
        self.record.finished_at = utc_text()
        with contextlib.suppress(OSError):
            os.unlink(self.folder.progress)
        try:
            # Shards end in another order than they began in.
            self.record.sequence = next_sequence(self._layout)
            self.folder.write_record(self.record)
            drop_oldest(self._layout, self._options.keep_batches, self._needed)
        except OSError as error:
            # What the batch did is in its metrics; the same command resumes it and finds all unchanged.
            _log.debug("how batch %s ended is not recorded: %s", self.batch_id, error)

    @property
    def _needed(self) -> set[str]:
        """A retry that did not finish needs the batch that it retries, to be resumed."""
        retry = self.record.retry_of if self.record.state != "finished" else None
        return {self.batch_id, retry.batch_id} if retry else {self.batch_id}


def _unfinished(layout: Layout, job: str) -> BatchRecord | None:
    """The latest batch of the same work, if it did not finish and its journal can be believed."""
    for folder in reversed(list_batches(layout)):
        record = find_record(folder)
        if record is not None and record.job == job:
            if record.state == "finished":
                _log.debug("batch %s did the same work and finished: this is a new batch", folder.batch_id)
                return None
            if record.boot is not None and not record.boot == boot_id() != "":
                _log.debug(
                    "batch %s is not resumed: it did not sync, and the machine has restarted", folder.batch_id
                )
                return None
            _log.debug("batch %s is resumed, which was %s", folder.batch_id, record.state)
            return record
    return None


def _new_id(moment: datetime) -> str:
    """Named for the start by this machine's clock, for people; ``BatchRecord.sequence`` orders batches."""
    return f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03d}Z-{secrets.token_hex(3)}"
