"""Workers of a dask cluster, as an executor (``batchpersist[dask]``)."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

import dask
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin
from distributed import TimeoutError as DaskTimeoutError  # until Python 3.11 not the built-in one

from .. import __version__
from ..errors import UsageError
from ..locks import stop_locking
from .pool import ElasticExecutor
from .process_pool import DRAIN_SECONDS

T = TypeVar("T")

CONNECT_SECONDS = 30.0
"""How long to wait for the scheduler's answer, and for a first worker."""

_POLL_SECONDS = 0.5

_CLUSTER = {
    # Halving its shard finds a run that kills its worker: it need not kill four of them each time.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
_CLIENT = {
    "distributed.admin.large-graph-warning-threshold": "1 GiB"
}  # a hot task's rows are a large argument


class DaskExecutor(ElasticExecutor):
    """Gives calls to the workers of the cluster that ``client`` is connected to."""

    def __init__(self, client: Client) -> None:
        self.client = client
        # Not pure: a call that is tried again must be made again, not answered with its old result.
        self._executor = client.get_executor(pure=False)
        self._outstanding: set[Future[Any]] = set()
        client.loop.add_callback(self._await_end)

    @property
    def threads(self) -> int:
        """Threads of all current workers; at least 1."""
        threads: dict[str, int] = self.client.nthreads()
        return max(1, sum(threads.values()))

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have a worker make the call; BrokenExecutor is raised where the worker or the scheduler died."""
        if self.client.status != "running":
            raise BrokenExecutor("the scheduler is lost")
        outer: Future[T] = Future()
        outer.set_running_or_notify_cancel()
        self._outstanding.add(outer)
        try:
            inner = self._executor.submit(fn, *args, **kwargs)
        except Exception as error:
            self._outstanding.discard(outer)
            if self.client.status == "running":
                raise
            raise BrokenExecutor("the scheduler is lost") from error
        inner.add_done_callback(partial(self._pass_on, outer))
        return outer

    def is_alive(self) -> bool:
        """Whether the scheduler answers; waits for a while if it does not."""
        while self.client.status == "connecting":  # the client itself gives up after a while
            time.sleep(_POLL_SECONDS)
        return bool(self.client.status == "running")

    def _pass_on(self, outer: Future[Any], inner: Future[Any]) -> None:
        self._outstanding.discard(outer)
        if outer.done():
            return
        try:
            outer.set_result(inner.result())
        except KilledWorker as error:
            outer.set_exception(BrokenExecutor(str(error)))
        except CancelledError:
            outer.set_exception(BrokenExecutor("the scheduler is lost"))
        except Exception as error:
            outer.set_exception(error)

    async def _await_end(self) -> None:
        """End the calls of a client that has given up on its scheduler: it forgets them."""
        while self.client.status not in ("closing", "closed"):
            await asyncio.sleep(_POLL_SECONDS)
        while self._outstanding:
            outer = self._outstanding.pop()
            if not outer.done():
                outer.set_exception(BrokenExecutor("the scheduler is lost"))

    def check_reach(self, path: str) -> None:
        """Raises UsageError where a current worker does not see the file ``path``."""
        seen = self.client.run(os.path.isfile, path, on_error="return")
        blind = sorted(worker for worker, sees in seen.items() if sees is not True)
        if blind:
            raise UsageError(
                f"worker {blind[0]} does not see {path}:"
                " out-dir, runs-dir and sources must lie on a file system that all workers share"
            )


@contextmanager
def dask_executor(scheduler: str | None, workers: int) -> Iterator[DaskExecutor]:
    """An executor on the cluster at ``scheduler`` (``tcp://host:8786`` ...), which is left running.

    None: on a new cluster of ``workers`` processes of this machine, which ends with the context. It listens
    on the loopback interface, and only this process can connect to it. Raises UsageError where no scheduler
    or no worker answers, and where the workers have another version of this package, or none.
    """
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_CLIENT))
        client = stack.enter_context(_local(workers) if scheduler is None else _connected(scheduler))
        _check_versions(client)
        yield DaskExecutor(client)


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"no dask scheduler answers at {address}: {error}") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except DaskTimeoutError:
            raise UsageError(f"the scheduler at {address} has no workers") from None
        yield client


@contextmanager
def _local(workers: int) -> Iterator[Client]:
    with (
        dask.config.set(_CLUSTER),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            security=True,  # else anybody on this machine could run code on its workers
            memory_limit=None,
            dashboard_address=None,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(_WorkerPlugin(), name="batchpersist")
        yield client


class _WorkerPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """Has the workers of the own cluster, replacements of dead ones too, obey as those of a pool do."""

    def setup(self, worker: Any) -> None:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):  # the parent answers
            signal.signal(number, signal.SIG_IGN)

    def teardown(self, worker: Any) -> None:
        stop_locking(DRAIN_SECONDS)


def _check_versions(client: Client) -> None:
    # By value: the workers may not have this package at all.
    found = client.run(lambda: __import__("batchpersist").__version__, on_error="return")
    for worker, version in sorted(found.items()):
        if isinstance(version, ImportError):
            raise UsageError(f"worker {worker} cannot import batchpersist: {version}")
        if version != __version__:
            raise UsageError(f"worker {worker} has batchpersist {version}, but this is {__version__}")
