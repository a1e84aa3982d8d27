"""A pool of processes from a fork server, and how its processes are known, awaited and started anew."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from typing import Any

from ..files.folders import working_folder
from ..limits import no_thread
from ..processes import has_ended, is_running
from .worker import DRAIN_SECONDS, END_SIGNAL, begin_worker

LONGEST_FOLDER = 103 - len("/pymp-12345678/listener-12345678")
"""Bytes of the path of the temporary folder: a socket's has 103 of them, on Linux 107."""

SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
"""For sockets, where that path is longer."""

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
    try:
        pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=begin_worker, initargs=(os.getcwd(),)
        )
    except OSError as error:
        raise OSError(error.errno, f"no semaphore can be made (in /dev/shm): {error.strerror}") from error
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

    It would die of a hang-up or a SIGTERM otherwise, and take its workers' work with it; so would the
    resource tracker, which they need. The mask is inherited through exec.
    """
    forkserver.set_forkserver_preload(_PRELOADED)
    if not working_folder():  # no process can be started in it, and no path is relative to it
        os.chdir(os.sep)
    _place_sockets()
    deaf = {signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, deaf)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, deaf)  # again: it has unblocked SIGTERM, here as well
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _place_sockets() -> None:
    """Have ``multiprocessing`` make its folder, once for all, where the path of a socket in it fits.

    Raises OSError where it cannot be made.
    """
    usual = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) > LONGEST_FOLDER:
        tempfile.tempdir = next(filter(_is_usable, SHORT_FOLDERS), usual)
    try:
        util.get_temp_dir()
    finally:
        tempfile.tempdir = usual


def _is_usable(folder: str) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


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
