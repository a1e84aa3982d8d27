"""Who does the work: in-process until a pool pays, and a pool whose workers obey only their parent."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import forkserver
from unittest.mock import Mock

import pytest

from batchpersist.errors import WorkersCannotStartError
from batchpersist.processes import has_ended, is_running
from batchpersist.workers import pool as pool_module
from batchpersist.workers.pool import SerialExecutor, WorkerPool
from batchpersist.workers.process_pool import PoolContext, process_pool


def fail() -> None:
    raise LookupError("no")


def pid_and_folder() -> tuple[int, str]:
    return os.getpid(), os.getcwd()


def test_serial_runs_at_once_in_the_calling_process() -> None:
    future = SerialExecutor().submit(pid_and_folder)
    assert future.done()
    assert future.result()[0] == os.getpid()


def test_serial_keeps_an_exception_as_a_result() -> None:
    assert isinstance(SerialExecutor().submit(fail).exception(), LookupError)


def test_a_pool_starts_once_it_pays() -> None:
    with closing(WorkerPool(2, pool_runs=10)) as pool:
        assert pool.submit(9, pid_and_folder).result()[0] == os.getpid()
        assert pool.parallelism(9) == 1
        assert pool.submit(10, pid_and_folder).result()[0] != os.getpid()
        assert pool.parallelism(10) == 2
        assert pool.in_flight(10) > pool.parallelism(10), "a worker must not wait for the parent"


def test_warm_up_starts_the_fork_server_and_no_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = Mock()
    monkeypatch.setattr(pool_module, "start_fork_server", begin)
    with closing(WorkerPool(1, pool_runs=10)) as alone, closing(WorkerPool(2, pool_runs=10)) as pool:
        alone.warm_up(1_000_000)
        pool.warm_up(9)
        begin.assert_not_called()
        pool.warm_up(10)
        begin.assert_called_once_with()
        assert pool.parallelism(9) == 1


def test_a_failed_warm_up_does_not_fail_a_batch_without_a_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "start_fork_server", Mock(side_effect=BrokenPipeError))
    with closing(WorkerPool(2, pool_runs=10)) as pool:
        pool.warm_up(10)
        assert pool.submit(9, pid_and_folder).result()[0] == os.getpid()


def test_one_worker_never_starts_a_pool() -> None:
    with closing(WorkerPool(1, pool_runs=0)) as pool:
        assert pool.submit(1_000_000, pid_and_folder).result()[0] == os.getpid()


def test_the_caller_s_executor_is_used_from_the_start_and_left_running() -> None:
    with ThreadPoolExecutor(1) as given:
        with closing(WorkerPool(2, pool_runs=0, executor=given)) as pool:
            assert pool.submit(0, threading.get_ident).result() != threading.get_ident()
            assert not pool.replace_pool()
        assert given.submit(os.getpid).result() == os.getpid()


def test_a_broken_pool_is_replaced_by_a_pool() -> None:
    with closing(WorkerPool(2, pool_runs=10)) as pool:
        first = pool.submit(10, os.getpid).result()
        before = pool.pids
        assert pool.replace_pool()
        assert pool.pids == before, "it works"
        os.kill(first, signal.SIGKILL)
        with pytest.raises(BrokenExecutor):
            pool.submit(10, time.sleep, 600).result()
        assert pool.replace_pool()
        assert pool.submit(1, os.getpid).result() not in (first, os.getpid())
        assert pool.pids > {first}


def kill_fork_server() -> None:
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]


@pytest.mark.parametrize("busy", [False, True])
def test_a_dead_fork_server_breaks_the_pool_and_is_started_again(busy: bool) -> None:
    with closing(WorkerPool(2, pool_runs=0)) as pool:
        worker = pool.submit(0, os.getpid).result()
        lost = pool.submit(0, time.sleep, 600) if busy else None
        kill_fork_server()
        with pytest.raises(BrokenExecutor):
            (lost or pool.submit(0, time.sleep, 600)).result()
        assert pool.replace_pool()
        assert not is_running(worker, None) or has_ended(worker), "it may be writing still"
        assert pool.submit(0, os.getpid).result() not in (worker, os.getpid())


def test_a_worker_that_a_broken_pool_overlooks_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that was being started when the pool found another one dead, and looked through those it knew."""
    with closing(WorkerPool(2, pool_runs=0)) as pool:
        with monkeypatch.context() as patched:
            patched.setattr("batchpersist.workers.process_pool._Worker.terminate", lambda _worker: None)
            sleeping = pool.submit(0, time.sleep, 600)
            lost = pool.submit(0, os._exit, 1)
            with pytest.raises(BrokenExecutor):
                lost.result()
            with pytest.raises(BrokenExecutor):
                sleeping.result()
        assert pool.replace_pool()
        assert pool.submit(0, os.getpid).result() not in pool._former_pids


PRELOADED = """
import sys
from contextlib import closing
from batchpersist.workers.pool import WorkerPool
with closing(WorkerPool(2, pool_runs=0)) as pool:
    modules = pool.submit(0, eval, "list(__import__('sys').modules)").result()
print(sorted({"batchpersist.index.scan_worker", "batchpersist.persist.worker"} & set(modules)))
"""


def test_workers_start_with_their_modules_imported() -> None:
    found = subprocess.check_output([sys.executable, "-c", PRELOADED], text=True)
    assert found == "['batchpersist.index.scan_worker', 'batchpersist.persist.worker']\n"


KILLED_AS_IT_STARTS_A_WORKER = """
import os
import signal
from multiprocessing import reduction
from batchpersist.workers.process_pool import process_pool

def send(*args):
    sendfds(*args)
    {then}

sendfds, reduction.sendfds = reduction.sendfds, send
process_pool(1).submit(os.getpid).result()
"""


@pytest.mark.parametrize("then", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)"])
def test_a_worker_whose_parent_dies_at_its_start_ends_silently(then: str) -> None:
    script = KILLED_AS_IT_STARTS_A_WORKER.format(then=then)
    ended = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, check=False)
    # The resource tracker's words on what it cleans up are Python's own.
    assert "Traceback" not in ended.stderr, ended.stderr


@pytest.mark.parametrize("broken", [BrokenPipeError, ConnectionRefusedError, ConnectionResetError, EOFError])
def test_a_fork_server_that_dies_during_a_request_breaks_the_pool(
    broken: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fds: object) -> None:
        raise broken

    with closing(WorkerPool(2, pool_runs=0)) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(forkserver, "connect_to_new_process", refuse)
            for _ in range(2):
                with pytest.raises(BrokenExecutor):
                    pool.submit(0, os.getpid)
        assert pool.replace_pool()
        assert pool.submit(0, os.getpid).result() != os.getpid()


def test_a_pool_that_breaks_as_a_process_is_started_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(WorkerPool(1, pool_runs=0)) as pool:
        pool._pooled = True
        worker = pool.submit(0, pid_and_folder).result()[0]
        assert pool._pool is not None
        monkeypatch.setattr(pool._pool, "submit", Mock(side_effect=OSError(errno.EMFILE, "no more files")))
        with pytest.raises(WorkersCannotStartError, match="no more files"):
            pool.submit(0, pid_and_folder)

        def break_meanwhile(_call: object) -> None:
            os.kill(worker, signal.SIGKILL)
            for process in pool._context.started():
                process.join(10)
            raise OSError(errno.EBADF, "closed")

        monkeypatch.setattr(pool._pool, "submit", break_meanwhile)
        with pytest.raises(BrokenExecutor):
            pool.submit(0, pid_and_folder)


def test_a_pool_that_cannot_start_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchpersist.workers.process_pool.begin_worker", sys.exit)  # pickled by its name
    with closing(WorkerPool(2, pool_runs=0)) as pool:
        with pytest.raises(BrokenExecutor):
            pool.submit(0, os.getpid).result()
        with pytest.raises(WorkersCannotStartError, match="__main__"):
            pool.replace_pool()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_worker_ignores_signals_for_its_parent(number: int) -> None:
    with process_pool(1) as pool:
        worker = pool.submit(pid_and_folder).result()[0]
        os.kill(worker, number)
        assert pool.submit(pid_and_folder).result()[0] == worker


def test_a_worker_that_its_parent_terminates_ends() -> None:
    context = PoolContext()
    with process_pool(1, context) as pool:
        pool.submit(pid_and_folder).result()
        [worker] = context.started()
        sleeping = pool.submit(time.sleep, 600)
        worker.terminate()
        with pytest.raises(BrokenProcessPool):
            sleeping.result()


def test_workers_work_in_the_folder_that_the_parent_is_in(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with process_pool(1) as pool:
        assert pool.submit(pid_and_folder).result()[1] == os.getcwd()


ORPHANS = """
import sys, time
from batchpersist.workers.process_pool import process_pool
from pool_test import pid_and_folder
if __name__ == "__main__":
    pool = process_pool(1)
    print(pool.submit(pid_and_folder).result()[0], flush=True)
    time.sleep(60)
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", ORPHANS],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.path.dirname(__file__)},
    )
    yield process
    process.kill()
    process.communicate()


def test_workers_do_not_outlive_a_killed_parent(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    deadline = time.monotonic() + 300
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{worker}")
