"""``--executor dask``: real schedulers and workers, on the loopback interface; some of them are killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.engine import run, tree
from support.model import persist
from support.shards import persist_unless_poisoned, plan_with, sides, supervise

from batchpersist.cli.main import cli
from batchpersist.errors import UsageError
from batchpersist.locks.task_lock import TaskLock
from batchpersist.models import Side
from batchpersist.paths import Layout
from batchpersist.records.journal import read_journal
from batchpersist.workers import dask
from batchpersist.workers.dask import DaskExecutor, dask_executor
from batchpersist.workers.pool import WorkerPool

RUNS = [run(f"task-{n % 12:02d}", n, notes="x" * 200) for n in range(600)]


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
    return found


class Cluster:
    """A scheduler and two workers, each a process, as an operator starts them."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self._stack, self._folder = stack, folder
        scheduler = ("scheduler", "--host", self.address, "--no-dashboard", "--no-jupyter")
        self._start(*scheduler, "--scheduler-file", str(folder / "scheduler.json"))
        self.workers = {}
        for name in ("one", "two"):
            worker = (
                "worker",
                self.address,
                "--name",
                name,
                "--nthreads",
                "2",
                "--no-nanny",
                "--no-dashboard",
            )
            self.workers[name] = self._start(*worker, "--host", "127.0.0.1")

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *words]
        with open(self._folder / "log", "ab") as log:
            process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="module")
def executor(cluster: Cluster) -> Iterator[DaskExecutor]:
    with dask_executor(cluster.address, 1) as executor:
        wait_for(lambda: executor.threads == 4)
        yield executor


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in RUNS))
    return path


def command(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "batchpersist", "run", "runs.jsonl", "--executor", "dask", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def check_persisted(tmp_path: Path) -> None:
    persist(RUNS, tmp_path / "model" / "out", tmp_path / "model" / ".runs")
    for root in ("out", ".runs"):
        found = {name: data for name, data in tree(tmp_path / root).items() if name != "metrics.json"}
        assert {name: data for name, data in found.items() if not name.startswith(".batchpersist/")} == tree(
            tmp_path / "model" / root
        )


def metrics() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("out/metrics.json").read_text())
    return found


def test_a_local_cluster_persists_and_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    """It comes and goes with the command; nothing of it is left, and it says nothing of its own."""
    process = command("-j", "2")
    words, _ = process.communicate(timeout=120)
    assert process.returncode == 0, words
    assert words.splitlines()[-1] == "Done: 600 persisted. Nothing failed."
    assert len(words.splitlines()) == 2
    check_persisted(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"runs.jsonl", "out", ".runs", "model"}
    (batch,) = (tmp_path / ".runs/.batchpersist/batches").iterdir()
    pids = {entry.pid for entry in read_journal(str(batch / "journal.jsonl"))}  # type: ignore[union-attr]
    assert process.pid not in pids


@pytest.mark.usefixtures("executor")
def test_a_killed_worker_costs_no_run_its_outcome(
    source: Path, tmp_path: Path, cluster: Cluster, executor: DaskExecutor
) -> None:
    """All runs are persisted but those of a locked task. The worker that waits for the lock is killed."""
    lock = TaskLock(Layout(str(tmp_path / "out"), str(tmp_path / ".runs")), "task-07")
    (tmp_path / ".runs").mkdir()
    with lock:
        process = command("--scheduler", cluster.address, "--lock-attempts", "1000")
        journal = wait_for(lambda: list(tmp_path.glob(".runs/.batchpersist/batches/*/journal.jsonl")))[0]
        wait_for(lambda: sum(entry.runs for entry in read_journal(str(journal))) == 550)  # type: ignore[union-attr]
        names = {info["name"]: name for name, info in executor.client.scheduler_info()["workers"].items()}
        busy = [name for name, address in names.items() if executor.client.processing()[address]]
        assert len(busy) == 1, "only the locked task's shard is left"
        cluster.workers[busy[0]].send_signal(signal.SIGKILL)
        wait_for(lambda: [keys for keys in executor.client.processing().values() if keys])
    words, _ = process.communicate(timeout=120)
    assert process.returncode == 0, words
    counts = metrics()["counts"]
    assert counts["persisted"] + counts["unchanged"] == 600
    assert counts["persisted"] >= 550
    assert metrics()["config"]["workers"] == 4, "the cluster's threads, where -j says nothing else"
    check_persisted(tmp_path)


def test_a_run_that_kills_its_workers_fails_alone(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, tasks=2, runs=4)
    script = partial(persist_unless_poisoned, poison=("run-2",))
    with dask_executor(None, 2) as executor:
        outcomes = list(supervise(WorkerPool(2, executor=executor), plan, script))
    assert sides(outcomes, plan) == {
        f"run-{n}": (Side.FAILED, Side.FAILED) if n == 2 else (Side.PERSISTED, Side.PERSISTED)
        for n in range(4)
    }
    (failure,) = {failure for outcome in outcomes for failure in outcome.manifest_failures.values()}
    assert failure.message == "worker died"


def test_check_reach_names_a_worker_that_does_not_see_a_file(
    executor: DaskExecutor, tmp_path: Path, cluster: Cluster
) -> None:
    (tmp_path / "seen").touch()
    executor.check_reach(str(tmp_path / "seen"))
    with pytest.raises(
        UsageError, match=r"worker tcp://\S+ does not see /nowhere/batch\.json: .* all workers share"
    ):
        executor.check_reach("/nowhere/batch.json")
    assert executor.is_alive()


def test_a_worker_of_another_version_is_refused_at_the_start(
    cluster: Cluster, executor: DaskExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask, "__version__", "9.9")
    with pytest.raises(UsageError, match=r"worker tcp://\S+ has batchpersist [\d.]+, but this is 9\.9"):  # noqa: SIM117
        with dask_executor(cluster.address, 1):
            pass


def test_a_missing_scheduler_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, source: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(dask, "CONNECT_SECONDS", 0.5)
    words = ["run", "runs.jsonl", "--executor", "dask", "--scheduler", "tcp://127.0.0.1:1"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert "no dask scheduler answers at tcp://127.0.0.1:1" in result.stderr
    assert os.listdir(tmp_path) == ["runs.jsonl"]


def test_calls_end_when_the_scheduler_is_lost(executor: DaskExecutor) -> None:
    """Nor is a call that is made after it, or was made just before."""
    with dask_executor(None, 1) as lost:
        never = lost.submit(time.sleep, 600)
        lost.client.cluster.close(timeout=10)
        with pytest.raises(BrokenExecutor):
            never.result(timeout=60)
        with pytest.raises(BrokenExecutor):
            lost.submit(os.getpid)
        assert not lost.is_alive()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--scheduler", "tcp://x"], "--scheduler goes with --executor dask"),
        (["--executor", "dask", "--run-timeout", "5"], "--run-timeout needs workers"),
        (["--executor", "dask", "--dry-run"], "a dry run takes place on this machine"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    source: Path, tmp_path: Path, words: list[str], complaint: str
) -> None:
    result = CliRunner().invoke(cli, ["run", "runs.jsonl", *words])
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert os.listdir(tmp_path) == ["runs.jsonl"]


def test_without_dask_the_error_names_what_to_install(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = CliRunner().invoke(cli, ["run", "runs.jsonl", "--executor", "dask"])
    assert result.exit_code == 2
    assert "distributed not installed: pip install 'batchpersist[dask]'" in result.stderr
    assert os.listdir(tmp_path) == ["runs.jsonl"]
