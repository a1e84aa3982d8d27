"""A pool of processes from a fork server, which obey their parent and do not outlive it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from typing import Any

from ..locks import drain
from ..processes import has_ended, is_running
from ..storage.atomic_write import working_folder
from ..system_limits import no_thread

END_SIGNAL = signal.SIGUSR1
"""Sent by the parent alone: whoever sent it to the whole process group would end the parent."""

NO_THREADS = 75
"""Exit code of a worker that could not begin, because it may not start the threads that it needs."""

DRAIN_SECONDS = 5.0
"""For a worker that is to end to finish the commit it is in: well over what a lock is held for."""


def begin_worker(folder: str) -> None:
    # The fork server keeps the folder it was started in; the parent may have left it since.
    os.chdir(folder)
    _obey_only_the_parent()


def _obey_only_the_parent() -> None:
    """A signal to the whole process group is the parent's to answer: a worker settles what it has begun.

    The parent ends a worker by ``END_SIGNAL`` (the executor does so to the members of a broken
    pool), and workers do not outlive their parent.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {END_SIGNAL})
    parent = multiprocessing.parent_process()
    if parent is not None:
        try:
            threading.Thread(target=_await_parents_signal, daemon=True).start()
            threading.Thread(target=_await_parents_end, args=(parent,), daemon=True).start()
        except RuntimeError:  # without them it could outlive its parent
            os._exit(NO_THREADS)


def _await_parents_signal() -> None:
    signal.sigwait({END_SIGNAL})
    _end(128 + END_SIGNAL)


def _await_parents_end(parent: Any) -> None:
    parent.join()
    _end(1)


def _end(code: int) -> None:
    """At once, but not in the middle of a commit: the task's lock would stay behind."""
    drain(DRAIN_SECONDS)
    os._exit(code)


LONGEST_FOLDER = 103 - len("/pymp-12345678/listener-12345678")
"""Bytes of the path of the temporary folder: a socket's has 103 of them, on Linux 107."""

SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
"""For sockets, where that path is longer."""

_PRELOADED = [
    f"batchpersist.{name}" for name in ("workers.fork_server_preload", "persist.worker", "index.scan_worker")
]


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
