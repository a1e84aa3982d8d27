"""A shard as a call: cut into pieces, and persisted by workers that may be lost and have several threads."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from support.engine import manifest_sides, plan_of, run, snapshot_sides, tree
from support.model import persist
from support.processes import dead_pid
from support.shards import scripted

from batchpersist import __version__
from batchpersist.batch.run import run_batch
from batchpersist.errors import UsageError, WorkerVersionError
from batchpersist.models import Shard, ShardOutcome, Side, Work
from batchpersist.options import BatchOptions, LockPolicy, PersistOptions
from batchpersist.paths import Layout
from batchpersist.persist.worker import empty_outcome
from batchpersist.plan.shard_job import ShardJob, make_job
from batchpersist.timestamps import utc_text
from batchpersist.workers.pool import ElasticExecutor
from batchpersist.workers.shard_call import ClusterPersister, ShardCall

RUNS = [run("a", n) for n in range(3)]


class Remote:
    """The shared folders of a batch, and a call of one of its workers."""

    def __init__(self, tmp_path: Path) -> None:
        self.layout = Layout(str(tmp_path / "out"), str(tmp_path / "runs"))
        self.calls = tmp_path / "calls"
        self.calls.mkdir()
        self._rows = plan_of(tmp_path / "runs.jsonl", RUNS).rows
        os.makedirs(self.layout.runs_dir)

    def persist(self, *, sweep: bool = False, version: str = __version__) -> ShardOutcome:
        job = make_job(self._rows, Shard(0, Work.PAIR, 0, len(RUNS), 0), sweep=sweep)
        options = PersistOptions(
            out_dir=self.layout.out_dir,
            runs_dir=self.layout.runs_dir,
            spool="",
            lock_policy=LockPolicy(attempts=1),
        )
        return ClusterPersister(options, str(self.calls), version).persist(job)

    def leave_lock(self, pid: int, host: str = socket.gethostname()) -> Path:
        """As a worker leaves it that dies in a commit."""
        lock = Path(self.layout.task_lock("a"))
        record = {"schema_version": 1, "kind": "codex-lock-owner", "token": "t", "pid": pid, "host": host}
        lock.write_text(json.dumps({**record, "acquired_at": utc_text()}))
        return lock

    def register(self, pid: int, host: str = socket.gethostname()) -> None:
        folder = self.calls / "workers" / quote(host, safe="")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(pid)).touch()


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path)


def test_a_cluster_s_worker_persists_as_any_other(remote: Remote) -> None:
    outcome = remote.persist()
    assert snapshot_sides(outcome) == manifest_sides(outcome) == [Side.PERSISTED] * 3
    assert os.listdir(remote.calls / "workers" / quote(socket.gethostname(), safe="")) == [str(os.getpid())]


def test_remains_of_a_lost_worker_of_this_host_are_cleared_at_once(remote: Remote, tmp_path: Path) -> None:
    """The cluster has just given its shard to another worker; the batch does not know."""
    remote.persist()
    for name in (remote.layout.snapshot("a"), remote.layout.manifest("a", "run-1")):
        os.unlink(name)
    died = write_half_and_die(tmp_path, remote)
    remote.register(died)
    lock = remote.leave_lock(died)
    outcome = remote.persist()
    assert Side.LOCKED not in snapshot_sides(outcome)
    assert not lock.exists()
    assert not list(tmp_path.rglob("*.tmp-*"))


def write_half_and_die(tmp_path: Path, remote: Remote) -> int:
    """Leaves a temporary file beside a manifest."""
    target = remote.layout.manifest("a", "run-1")
    program = (
        "import os, sys; from batchpersist.storage.temp_files import temporary_beside\n"
        "open(temporary_beside(sys.argv[1]), 'w').close(); os._exit(os.getpid() and 7)"
    )
    with subprocess.Popen([sys.executable, "-c", program, target]) as process:
        assert process.wait() == 7
    assert list(tmp_path.rglob("manifest.json.tmp-*"))
    return process.pid


def test_a_piece_of_a_retried_shard_clears_the_lock_too(remote: Remote) -> None:
    died = dead_pid()
    remote.register(died)
    lock = remote.leave_lock(died)
    assert snapshot_sides(remote.persist(sweep=True)) == [Side.PERSISTED] * 3
    assert not lock.exists()


@pytest.mark.parametrize("whose", ["another host's", "a live worker's", "nobody's of the batch"])
def test_any_other_lock_is_left_alone(remote: Remote, whose: str) -> None:
    died, host = dead_pid(), socket.gethostname()
    if whose == "another host's":
        host = "elsewhere"
    if whose == "a live worker's":
        died = os.getppid()
    if whose != "nobody's of the batch":
        remote.register(died, host)
        remote.register(died)
    lock = remote.leave_lock(died, host)
    outcome = remote.persist(sweep=True)
    assert snapshot_sides(outcome) == [Side.LOCKED] * 3
    assert manifest_sides(outcome) == [Side.PERSISTED] * 3
    assert lock.exists()


def test_another_version_is_refused(remote: Remote) -> None:
    with pytest.raises(WorkerVersionError, match=rf"has batchpersist {__version__}, but this is 9\.9"):
        remote.persist(version="9.9")
    assert not os.path.exists(remote.layout.out_dir)


def blank(job: ShardJob) -> ShardOutcome:
    return empty_outcome(job.shard)


def test_shards_are_cut_where_workers_died() -> None:
    call = ShardCall(pa.table({}), Shard(0, Work.PAIR, 10, 20, 100), scripted(blank))
    bounds = [
        [(piece.shard.start, piece.shard.stop) for piece in call.cut(rows)]
        for rows in ({15}, {10}, {19}, {9, 20}, {12, 13})
    ]
    assert bounds == [
        [(10, 15), (15, 16), (16, 20)],
        [(10, 11), (11, 20)],
        [(10, 19), (19, 20)],
        [(10, 20)],
        [(10, 12), (12, 13), (13, 14), (14, 20)],
    ]


# Threads


class Threads(ElasticExecutor):
    """A cluster of one process with many threads."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads)

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        return self._pool.submit(fn, *args, **kwargs)

    def is_alive(self) -> bool:
        return True

    def check_reach(self, path: str) -> None:
        assert os.path.isfile(path)


@pytest.fixture
def often_switched() -> Iterator[None]:
    """Threads are interrupted a thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("often_switched")
def test_threads_of_one_worker_write_what_one_thread_would(tmp_path: Path) -> None:
    """A hot task among others; twice, so that there are histories to merge with."""
    runs = [run("hot" if n % 2 else f"task-{n % 38}", n % 300, note="x" * (n % 300)) for n in range(400)]
    persist(runs, tmp_path / "model" / "out", tmp_path / "model" / "runs")
    options = BatchOptions(
        out_dir=str(tmp_path / "b" / "out"),
        runs_dir=str(tmp_path / "b" / "runs"),
        workers=8,
    )
    for number, part in enumerate((runs[:200], runs[200:])):
        sources = []
        for slot in range(7):
            sources.append(str(tmp_path / f"{number}-{slot}.jsonl"))
            lines = part[len(part) * slot // 7 : len(part) * (slot + 1) // 7]
            Path(sources[-1]).write_text("".join(json.dumps(item) + "\n" for item in lines))
        report = run_batch(sources, options, executor=Threads(8))
        assert report.exit_code == 0
    found = {name: data for name, data in tree(tmp_path / "b").items() if name != "out/metrics.json"}
    assert found == tree(tmp_path / "model")
    assert not list((tmp_path / "b" / "runs").glob("*.lock*"))


def test_a_run_timeout_needs_workers_that_can_be_killed(tmp_path: Path) -> None:
    options = BatchOptions(out_dir=str(tmp_path / "o"), runs_dir=str(tmp_path / "r"), run_timeout_seconds=5.0)
    with pytest.raises(UsageError, match="run timeout"):
        run_batch([str(tmp_path)], options, executor=Threads(1))
    assert not (tmp_path / "r").exists()
