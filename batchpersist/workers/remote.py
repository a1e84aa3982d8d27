"""Persists a shard on a worker of a cluster, which may be lost and replaced at any time.

Such a cluster gives the work of a lost worker to another one without asking. What the lost one left half
done is the next one's to find: its temporary files, and perhaps the lock of the task that it was at. A
lock is cleared only by the rules (docs/formats.md): on its owner's host, and where that is dead for certain.
"""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from urllib.parse import quote

from .. import __version__
from ..errors import WorkerVersionError
from ..locks import clear_locks
from ..models import ShardOutcome
from ..options import PersistOptions
from ..paths import Layout
from ..persist import persist_shard
from ..plan import ShardJob


def settle_remotely(job: ShardJob, options: PersistOptions, calls: str, version: str) -> ShardOutcome:
    """As ``settle_shard``. ``calls``: a folder that all workers share; ``version``: that of the batch.

    Safe in several threads of a process, and where two workers have the same shard, since one of them
    was only taken for lost. Raises WorkerVersionError, and OSError where ``calls`` cannot be written.
    """
    if version != __version__:
        raise WorkerVersionError(version, __version__, socket.gethostname())
    if _was_begun(calls, job) or job.sweep:
        _clear_dead_workers_locks(job, options, calls)
        job = job._replace(sweep=True)
    _register(calls)
    return persist_shard(job, options)


def _was_begun(calls: str, job: ShardJob) -> bool:
    """Whether a worker has had the same shard in hand before: most likely, it has not lived to finish it."""
    shard = job.shard
    mark = os.path.join(calls, f"{shard.work.value}-{shard.start}-{shard.stop}")
    try:
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return True
    return False


def _workers_here(calls: str) -> str:
    """Folder of those workers that ran on this host: a file a process, named by its pid."""
    return os.path.join(calls, "workers", quote(socket.gethostname(), safe=""))


def _register(calls: str) -> None:
    _registered(calls, os.getpid())


@lru_cache(maxsize=1)
def _registered(calls: str, pid: int) -> None:
    folder = _workers_here(calls)
    os.makedirs(folder, exist_ok=True)
    os.close(os.open(os.path.join(folder, str(pid)), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _clear_dead_workers_locks(job: ShardJob, options: PersistOptions, calls: str) -> None:
    """Clear the locks that dead workers of this host hold on the shard's tasks."""
    try:
        pids = {int(name) for name in os.listdir(_workers_here(calls))}
    except FileNotFoundError:
        return
    refs, layout = job.refs(), Layout(options.out_dir, options.runs_dir)
    for task_id, _ in refs.tasks(range(len(refs))):
        clear_locks(layout, task_id, pids)
