"""Who does the work: this very process, or a pool of others; any ``Executor`` will do."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import forkserver, resource_tracker
from typing import Any, TypeVar

from .errors import WorkersCannotStartError
from .locks import drain

T = TypeVar("T")

DRAIN_SECONDS = 5.0
"""For a worker that is to end to finish the commit it is in: well over what a lock is held for."""

POOL_RUNS = 2_000
"""Runs from which a pool pays: it takes about as long to start as so many runs to settle."""


class SerialExecutor(Executor):
    """Runs each call at once in the calling thread: one worker, in-process."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Returns a future that is done already."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Crew:
    """The executor of a batch: in-process until there is enough work for a pool to pay.

    A given executor is used from the start and left running; a pool of our own can be
    replaced after a worker's death, and is shut down with the crew.
    """

    def __init__(
        self,
        workers: int,
        pool_runs: int = POOL_RUNS,
        executor: Executor | None = None,
        *,
        in_process: bool = True,
    ) -> None:
        """``in_process=False``: always a pool, whatever there is to do, since its workers can be killed."""
        self.workers = workers
        self._in_process = in_process
        self._pool_runs = pool_runs
        self._given = executor
        self._serial = SerialExecutor()
        self._pool: ProcessPoolExecutor | None = None
        self._first_call: Future[int] | None = None
        self._pids: set[int] = set()

    def executor(self, runs: int) -> Executor:
        """The executor for a batch of which ``runs`` runs are known so far."""
        if self._given is not None:
            return self._given
        pays = self.workers > 1 and runs >= self._pool_runs
        if self._pool is None and (pays or not self._in_process):
            self._pool = process_pool(self.workers)
            self._first_call = self._pool.submit(os.getpid)
        return self._pool or self._serial

    def in_flight(self, runs: int) -> int:
        """How many calls to have submitted at once: enough that no worker waits for the parent."""
        return 1 if self.executor(runs) is self._serial else 2 * self.workers

    def parallelism(self, runs: int) -> int:
        return 1 if self.executor(runs) is self._serial else self.workers

    def submit(self, runs: int, call: Callable[..., T], /, *args: Any) -> Future[T]:
        """Have the executor make a call. Raises BrokenExecutor."""
        future = self.executor(runs).submit(call, *args)
        if self._pool is not None:  # it starts its processes when they are needed
            self._pids.update(child.pid for child in multiprocessing.active_children() if child.pid)
        return future

    @property
    def owns_workers(self) -> bool:
        """Whether they are processes of ours, which can be watched and killed."""
        return self._given is None

    @property
    def pids(self) -> set[int]:
        """All processes that were ever workers of ours."""
        return self._pids

    def replace_pool(self) -> bool:
        """Drop a pool that broke; the next call starts another. False where it is not ours to replace.

        Raises WorkersCannotStartError where it never did anything: another one would not either.
        """
        if self._pool is None or self._first_call is None:
            return False
        self.close()
        if self._first_call.exception() is not None:
            raise WorkersCannotStartError
        return True

    def close(self) -> None:
        """Shut down a pool of our own; a given executor is its owner's."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None


def process_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of ``workers`` processes.

    They come from a fork server: the parent has threads (Arrow's, a progress bar's), and a
    fork of a process with threads can deadlock.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["batchpersist.settle", "batchpersist.scan"])
    _start_fork_server()
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin_worker, initargs=(os.getcwd(),)
    )


def _start_fork_server() -> None:
    """Start it, if it is not running yet, deaf to what is sent to the whole process group.

    It would die of a hang-up or a SIGTERM otherwise, and take its workers' work with it. The
    mask is inherited through exec; the resource tracker, which it needs, sets one of its own.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(folder: str) -> None:
    # The fork server keeps the folder it was started in; the parent may have left it since.
    os.chdir(folder)
    _obey_only_the_parent()


def _obey_only_the_parent() -> None:
    """A signal to the whole process group is the parent's to answer: a worker settles what it has begun.

    SIGTERM still ends a worker when the parent sends it (the executor does so to the
    members of a broken pool), and workers do not outlive their parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_await_parents_signal, args=(parent.pid,), daemon=True).start()
        threading.Thread(target=_await_parents_end, args=(parent,), daemon=True).start()


def _await_parents_signal(parent: int | None) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    _end(128 + signal.SIGTERM)


def _await_parents_end(parent: Any) -> None:
    parent.join()
    _end(1)


def _end(code: int) -> None:
    """At once, but not in the middle of a commit: the task's lock would stay behind."""
    drain(DRAIN_SECONDS)
    os._exit(code)
