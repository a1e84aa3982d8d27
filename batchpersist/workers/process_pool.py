"""A pool of processes from a fork server; they obey their parent alone, and do not outlive it."""

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

from ..locks import stop_locking
from ..processes import has_ended, is_running
from ..storage.atomic_write import working_folder
from ..system_limits import no_thread

END_SIGNAL = signal.SIGUSR1
"""Only the parent sends it: sent to the whole process group, it would end the parent."""

NO_THREADS = 75
"""Exit code of a worker that may not start the threads that it needs."""

DRAIN_SECONDS = 5.0
"""How long a worker that is to end may take to finish its commit: well over the time a lock is held for."""


def begin_worker(folder: str) -> None:
    """Prepare a worker's process. ``folder``: the parent's working folder."""
    os.chdir(folder)  # the fork server is still in the one where it was started
    _obey_parent()


def _obey_parent() -> None:
    """Ignore signals to the whole process group, which the parent answers: a worker finishes its call.

    The parent ends a worker by ``END_SIGNAL``, as the executor does with the workers of a broken pool.
    A worker does not outlive its parent.
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
    """End at once, but not in the middle of a commit: the task's lock would stay behind."""
    stop_locking(DRAIN_SECONDS)
    os._exit(code)


LONGEST_FOLDER = 103 - len("/pymp-12345678/listener-12345678")
"""Bytes that the path of the temporary folder may have: a socket's may have 103, on Linux 107."""

SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
"""Folders for sockets where that path is longer."""

_PRELOADED = [
    f"batchpersist.{name}" for name in ("workers.fork_server_preload", "persist.worker", "index.scan_worker")
]


class _Worker(ForkServerProcess):
    def terminate(self) -> None:
        """Send the signal that a worker obeys: SIGTERM may come from others, to the whole process group."""
        if self.pid is not None and self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, END_SIGNAL)


class PoolContext(ForkServerContext):
    """Starts a pool's processes, and remembers them.

    They come from a fork server: the parent has threads (Arrow's, a progress bar's), and a fork of a process
    with threads can deadlock.
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
    """Start a pool of ``workers`` processes. Raises OSError where the system refuses what it needs."""
    context = context or PoolContext()
    start_fork_server()
    try:
        pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=begin_worker, initargs=(os.getcwd(),)
        )
    except OSError as error:
        raise OSError(error.errno, f"no semaphore can be made (in /dev/shm): {error.strerror}") from error
    # The pool's own thread would start this one later; where it cannot, it hangs
    # (https://github.com/python/cpython/issues/109047, fixed in Python 3.12).
    try:
        pool._call_queue._start_thread()  # type: ignore[attr-defined]
    except RuntimeError as error:
        raise no_thread() from error
    return pool


def start_fork_server() -> None:
    """Start the fork server, if it does not run yet, with all modules that workers need.

    It ignores signals to the whole process group: otherwise a hang-up or a SIGTERM would end it, and all its
    workers with it, and the resource tracker, which they need. The mask is inherited through exec.
    """
    forkserver.set_forkserver_preload(_PRELOADED)
    if not working_folder():  # it was deleted: no process can start in it, and no path is relative to it
        os.chdir(os.sep)
    _place_sockets()
    ignored = {signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ignored)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, ignored)  # again: the tracker's start has unblocked SIGTERM
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _place_sockets() -> None:
    """Have ``multiprocessing`` make its folder, once and for all, where the path of a socket in it fits.

    Raises OSError where the folder cannot be made.
    """
    default = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) > LONGEST_FOLDER:
        tempfile.tempdir = next(filter(_is_usable, SHORT_FOLDERS), default)
    try:
        util.get_temp_dir()
    finally:
        tempfile.tempdir = default


def _is_usable(folder: str) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def stop_fork_server() -> None:
    """Stop the fork server and the resource tracker, and wait for their end. All pools must be shut down."""
    for server in (forkserver._forkserver, resource_tracker._resource_tracker):
        with suppress(ChildProcessError):
            server._stop()  # type: ignore[union-attr]  # nothing public ends them


def await_end(pids: Iterable[int]) -> None:
    """Wait for processes whose pool is shut down, for ``DRAIN_SECONDS`` in all."""
    deadline = time.monotonic() + DRAIN_SECONDS
    for pid in pids:
        while is_running(pid, None) and not has_ended(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
