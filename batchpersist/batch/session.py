"""A batch from its start to its end in its folder: started or resumed, journaled, closed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from hashlib import blake2b
from types import TracebackType
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import WorkerDiedError
from ..models import Durability, Failure, ShardOutcome
from ..options import BatchOptions
from ..paths import Layout
from ..records.batch_folder import (
    BatchFolder,
    BatchRecord,
    State,
    batch_name,
    drop_oldest,
    find_record,
    list_batches,
    next_sequence,
)
from ..records.journal import Journal, QuarantineEntry, encode_entry
from ..records.preparation import config_of
from ..sources import absolute
from ..storage.atomic_write import working_folder
from ..storage.fingerprint import boot_id
from ..storage.temp_files import sweep
from ..timestamps import moment_of, utc_text
from .resume import read_journaled_runs

if TYPE_CHECKING:
    import pyarrow as pa


def clear_dead_batches(layout: Layout) -> bool:
    """Remove spools and temporary files of dead batches; whether there are any such batches.

    For the holder of the batch lock, to whom every batch that says it is running is dead; to that of
    a shard's lock, every one of the same shard, for others may be at work. Temporary
    files beside snapshots and manifests are left to the workers that come there (``PersistOptions.sweep``).
    Raises OSError where the batches cannot be listed.
    """
    dead = False
    for folder in list_batches(layout):
        record = find_record(folder)
        if record is not None and record.state == "running" and layout.shard in ("", record.shard):
            dead = True
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
    """For the holder of the batch lock. A context manager: what leaves it by an exception has failed.

    The latest batch that did the same work (the same roots, keys, selection, shard and sources) is
    continued if it did not finish, under its own id: all else that options can say changes how the
    work is done, but not its result. Raises OSError where the folder cannot be made or written.
    """

    def __init__(self, layout: Layout, options: BatchOptions, sources: Sequence[str]) -> None:
        self._layout = layout
        self._options = options
        job = _job(layout, options, sources)
        before = _unfinished(layout, job) if options.resume else None
        self.started_at = datetime.now(timezone.utc)
        if before is not None:
            self.started_at = moment_of(before.started_at)
        self.record = BatchRecord(
            batch_id=before.batch_id if before else _new_id(self.started_at),
            sequence=next_sequence(layout),
            state="running",
            job=job,
            parts=before.parts + 1 if before else 1,
            pid=os.getpid(),
            host=socket.gethostname(),
            started_at=utc_text(self.started_at),
            retry_of=options.retry_of,
            version=__version__,
            cwd=working_folder(),
            boot=boot_id() if options.durability is Durability.NONE else (before.boot if before else None),
            shard=layout.shard,
            config=config_of(options, sources),
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
    def continues(self) -> bool:
        return self.record.parts > 1

    def __enter__(self) -> BatchSession:
        self.after_crash = clear_dead_batches(self._layout)
        # A part that was killed before it said that it ran has left its spool.
        shutil.rmtree(self.folder.spool, ignore_errors=True)
        os.makedirs(self.folder.beats, exist_ok=True)
        self.settled = read_journaled_runs(self.folder.journal) if self.continues else None
        # From now on the journal may hold what ends with the boot: no older form of this must outlive that.
        self.folder.write_record(self.record, Durability.FILE if self.continues else Durability.NONE)
        self._journal = Journal(self.folder.journal, self._options.durability)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()
        shutil.rmtree(self.folder.spool, ignore_errors=True)
        if self.record.state == "running":
            self.end("failed" if isinstance(error, Exception) else "interrupted", None)

    def settle(self, outcome: ShardOutcome, rows: pa.Table) -> None:
        """Journal a shard; ``rows`` are the plan's."""
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
        """Note how the batch ended, and let go of batches that are too old. Never raises OSError."""
        self.record.state, self.record.exit_code = state, exit_code
        self.record.finished_at = utc_text()
        with contextlib.suppress(OSError):
            os.unlink(self.folder.progress)
        try:
            # Shards end in another order than they began in.
            self.record.sequence = next_sequence(self._layout)
            self.folder.write_record(self.record)
            drop_oldest(self._layout, self._options.keep_batches, self._needed)
        except OSError:
            pass  # what it did is in the metrics; it would only be continued for nothing

    @property
    def _needed(self) -> set[str]:
        """A retry that did not finish is gone on with by what it is the retry of."""
        retry = self.record.retry_of if self.record.state != "finished" else None
        return {self.batch_id, retry.batch_id} if retry else {self.batch_id}


def _unfinished(layout: Layout, job: str) -> BatchRecord | None:
    """The latest batch of the same work, if it did not finish and its journal can be believed."""
    for folder in reversed(list_batches(layout)):
        record = find_record(folder)
        if record is not None and record.job == job:
            believed = record.boot is None or record.boot == boot_id() != ""
            return record if record.state != "finished" and believed else None
    return None


def _job(layout: Layout, options: BatchOptions, sources: Sequence[str]) -> str:
    paths = [layout.out_dir, layout.runs_dir]
    paths += map(absolute, sources)
    work = {
        "paths": [os.fsencode(path).hex() for path in paths],
        "keys": asdict(options.keys),
        "selection": asdict(options.selection),
        "shard": layout.shard,
        "retry_of": options.retry_of and asdict(options.retry_of),
    }
    return blake2b(json.dumps(work).encode(), digest_size=16).hexdigest()


def _new_id(moment: datetime) -> str:
    """Named for the start by this machine's clock, for people; ``BatchRecord.sequence`` orders batches."""
    return f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03d}Z-{secrets.token_hex(3)}"
