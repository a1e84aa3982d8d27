"""A shard as a call for a worker: how it is persisted there, cut into smaller ones, and given up.

A worker of a cluster may be lost and replaced at any time, and the cluster gives the work of a lost worker to
another one without asking. What the lost one left half done is the next one's to find: its temporary files,
and perhaps the lock of the task that it was at. A lock is cleared only by the rules (docs/formats.md): on its
owner's host, and where that is dead for certain.
"""

from __future__ import annotations

import logging
import os
import socket
from array import array
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import quote

from .. import __version__
from ..errors import ItemError, WorkerVersionError, failure_of
from ..locks import clear_locks
from ..models import Shard, ShardOutcome, Side, Work
from ..options import PersistOptions
from ..persist import empty_outcome, persist_shard
from ..plan import ShardJob, make_job
from .pool import WorkerPool
from .supervisor import Call

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardPersister:
    """What a worker of this machine does with a shard. Picklable."""

    options: PersistOptions

    def persist(self, job: ShardJob) -> ShardOutcome:
        """As ``persist_shard``."""
        return persist_shard(job, self.options)


@dataclass(frozen=True)
class ClusterPersister(ShardPersister):
    """What a worker of a cluster does with a shard."""

    calls: str
    """A folder that all workers share: which shards were begun, and which workers ran on which host."""
    version: str = __version__
    """Of the batch."""

    def persist(self, job: ShardJob) -> ShardOutcome:
        """As ``persist_shard``.

        Safe in several threads of a process, and where two workers have the same shard, since one of them
        was only taken for lost. Raises WorkerVersionError, and OSError where ``calls`` cannot be written.
        """
        if self.version != __version__:
            raise WorkerVersionError(self.version, __version__, socket.gethostname())
        if _was_begun(self.calls, job.shard) or job.sweep:
            _log.debug("shard %d was begun before: what a lost worker left is cleared", job.shard.number)
            self._clear_locks(job)
            job = job._replace(sweep=True)
        _register(self.calls, os.getpid())
        return persist_shard(job, self.options)

    def _clear_locks(self, job: ShardJob) -> None:
        """Clear the locks that dead workers of this host hold on the shard's tasks."""
        try:
            pids = {int(name) for name in os.listdir(_workers_here(self.calls))}
        except FileNotFoundError:
            return
        refs = job.rows()
        for task_id, _ in refs.tasks(range(len(refs))):
            clear_locks(self.options.layout, task_id, pids)


def make_persister(pool: WorkerPool, options: PersistOptions, calls: str) -> ShardPersister:
    """What the workers of a pool do; for those of a cluster the folder ``calls`` is made."""
    if pool.elastic is None:
        return ShardPersister(options)
    os.makedirs(calls, exist_ok=True)
    return ClusterPersister(options, calls)


def _was_begun(calls: str, shard: Shard) -> bool:
    """Whether another worker has begun this shard: most likely, it did not live to finish it."""
    mark = os.path.join(calls, f"{shard.work.value}-{shard.start}-{shard.stop}")
    try:
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return True
    return False


def _workers_here(calls: str) -> str:
    """The folder of the workers that ran on this host: a file for each process, named by its pid."""
    return os.path.join(calls, "workers", quote(socket.gethostname(), safe=""))


@lru_cache(maxsize=1)
def _register(calls: str, pid: int) -> None:
    folder = _workers_here(calls)
    os.makedirs(folder, exist_ok=True)
    os.close(os.open(os.path.join(folder, str(pid)), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


@dataclass(frozen=True, eq=False)
class ShardCall(Call[ShardOutcome]):
    """Has a worker persist a shard."""

    table: pa.Table
    """The plan's rows."""
    shard: Shard
    persister: ShardPersister

    def __str__(self) -> str:
        return (
            f"shard {self.shard.number} ({self.shard.work.value}, rows {self.shard.start}-{self.shard.stop})"
        )

    @property
    def runs(self) -> int:
        return int(self.table.num_rows)

    @property
    def rows(self) -> range:
        return range(self.shard.start, self.shard.stop)

    def submit(self, pool: WorkerPool, *, sweep: bool) -> Future[ShardOutcome]:
        return pool.submit(self.runs, self.persister.persist, make_job(self.table, self.shard, sweep=sweep))

    def give_up(self, error: ItemError) -> ShardOutcome:
        return failed_outcome(self.shard, error)

    def fail(self, error: Exception) -> ShardOutcome:
        return failed_outcome(self.shard, error, defect=not isinstance(error, OSError))

    def cut(self, rows: Collection[int]) -> Sequence[ShardCall]:
        edges = {edge for row in rows if row in self.rows for edge in (row, row + 1)}
        return self._pieces(sorted(edges | {self.shard.start, self.shard.stop}))

    def halve(self) -> Sequence[ShardCall]:
        """A task cut in two keeps the order of its history, since the halves are persisted in their order."""
        if len(self.rows) == 1:
            return []
        return self._pieces([self.shard.start, (self.shard.start + self.shard.stop) // 2, self.shard.stop])

    def _pieces(self, bounds: Sequence[int]) -> Sequence[ShardCall]:
        shards = (self.shard._replace(start=start, stop=stop) for start, stop in pairwise(bounds))
        return [replace(self, shard=shard) for shard in shards]

    def clear_locks(self, pids: Collection[int]) -> None:
        tasks = self.table["task_id"].slice(self.shard.start, len(self.rows)).cast("string").unique()
        for task_id in tasks.to_pylist():
            clear_locks(self.persister.options.layout, task_id, pids)


def failed_outcome(shard: Shard, error: Exception, *, defect: bool = False) -> ShardOutcome:
    """The outcome of a shard that no worker returned: each side that it was to persist has failed."""
    outcome = empty_outcome(shard)
    outcome.defect = defect
    failure = failure_of(error)
    rows = range(shard.stop - shard.start)
    if shard.work is not Work.MANIFEST:
        outcome.snapshot = array("b", [Side.FAILED] * len(rows))
        outcome.snapshot_failures = dict.fromkeys(rows, failure)
    if shard.work is not Work.SNAPSHOT:
        outcome.manifest = array("b", [Side.FAILED] * len(rows))
        outcome.manifest_failures = dict.fromkeys(rows, failure)
    return outcome
