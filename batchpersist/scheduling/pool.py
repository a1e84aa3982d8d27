"""A pool of processes from a fork server, and how its processes are known, awaited and started anew."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from typing import Any

from ..limits import no_thread
from ..processes import has_ended, is_running
from .worker import DRAIN_SECONDS, END_SIGNAL, begin_worker

_PRELOADED = [f"batchpersist.{name}" for name in ("scheduling.orphans", "settling.settle", "ingest.scan")]


class _Worker(ForkServerProcess):
    def terminate(self) -> None:
        """By the signal that it obeys; SIGTERM may have been sent to the whole process group, by others."""
        if self.pid is not None and self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, END_SIGNAL)


class PoolContext(ForkServerContext):
    """Starts a pool's processes, and knows them.

    They come from a fork server: the parent has threads (Arrow's, a progress bar's), and a
    fork of a process with threads can deadlock.
    """

    def __init__(self) -> None:
        super().__init__()
        self._workers: list[BaseProcess] = []

    def Process(self, *args: Any, **more: Any) -> BaseProcess:  # type: ignore[override]  # as pools call it
        worker = _Worker(*args, **more)
        self._workers.append(worker)
        return worker

    def started(self) -> list[BaseProcess]:
        return [worker for worker in self._workers if worker.pid is not None]


def process_pool(workers: int, context: PoolContext | None = None) -> ProcessPoolExecutor:
    """A pool of ``workers`` processes. Raises OSError where the system refuses what it needs."""
    context = context or PoolContext()
    start_fork_server()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=begin_worker, initargs=(os.getcwd(),))
    # Its thread would start this one later, and would wait for ever after failing to do so
    # (https://github.com/python/cpython/issues/109047, mended in Python 3.12).
    try:
        pool._call_queue._start_thread()  # type: ignore[attr-defined]
    except RuntimeError as error:
        raise no_thread() from error
    return pool


def start_fork_server() -> None:
    """Start it, if it is not running yet, with all imported that workers need, and deaf to what is sent
    to the whole process group.

    It would die of a hang-up or a SIGTERM otherwise, and take its workers' work with it. The
    mask is inherited through exec; the resource tracker, which it needs, sets one of its own.
    """
    forkserver.set_forkserver_preload(_PRELOADED)
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_fork_server() -> None:
    """End it, and its helper, once all pools are shut down, and wait for that."""
    for server in (forkserver._forkserver, resource_tracker._resource_tracker):
        with suppress(ChildProcessError):
            server._stop()  # type: ignore[union-attr]  # nothing public ends them


def await_end(pids: Iterable[int]) -> None:
    """Wait for processes whose pool is shut down, but not for ever."""
    deadline = time.monotonic() + DRAIN_SECONDS
    for pid in pids:
        while is_running(pid, None) and not has_ended(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
