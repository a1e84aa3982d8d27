"""Who does the work: this very process, or a pool of others; any ``Executor`` will do."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from ..errors import WorkersCannotStartError
from ..locking.locks import drain
from ..processes import has_ended, is_running

T = TypeVar("T")

DRAIN_SECONDS = 5.0
"""For a worker that is to end to finish the commit it is in: well over what a lock is held for."""

POOL_RUNS = 2_000
"""Runs from which a pool pays: it takes about as long to start as so many runs to settle."""

RESTART_PAUSES = (0.0, 0.02, 0.1, 0.5)
"""Seconds before each attempt at another pool: a fork server that was killed may seem alive for a moment."""


def usable_cpus() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


class ElasticExecutor(Executor):
    """An executor whose workers come and go.

    A call that was lost with its worker raises BrokenExecutor from its own future alone, and can be made
    again as long as ``is_alive``.
    """

    @property
    def threads(self) -> int:
        """Calls that are made at the same time, about."""
        raise NotImplementedError

    def is_alive(self) -> bool:
        """Whether another call may succeed."""
        raise NotImplementedError

    def check_reach(self, path: str) -> None:
        """Raises UsageError where a worker does not see the file ``path``."""
        raise NotImplementedError


class Crew:
    """The executor of a batch: in-process until there is enough work for a pool to pay.

    A given executor is used from the start and left running; a pool of our own can be
    replaced after the death of a worker or of the fork server, and is shut down with the crew.
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
        self._pooled = not in_process
        self._pool_runs = pool_runs
        self._given = executor
        self._serial = SerialExecutor()
        self._pool: ProcessPoolExecutor | None = None
        self.start_seconds = 0.0
        """From the wish for a pool until its first worker answered."""
        self._context = _Context()
        self._broken = False
        self._former_pids: set[int] = set()

    def _answered(self, begun: float) -> None:
        self.start_seconds = time.perf_counter() - begun

    def in_flight(self, runs: int) -> int:
        """How many calls to have submitted at once: enough that no worker waits for the parent."""
        return 2 * self.workers if self._is_parallel(runs) else 1

    def parallelism(self, runs: int) -> int:
        return self.workers if self._is_parallel(runs) else 1

    def submit(self, runs: int, call: Callable[..., T], /, *args: Any) -> Future[T]:
        """Have the executor make a call, ``runs`` runs of the batch being known. Raises BrokenExecutor."""
        if self._given is not None:
            return self._given.submit(call, *args)
        if not self._is_parallel(runs):
            return self._serial.submit(call, *args)
        future = self._submit_to_pool(call, *args)
        if future is None:
            self._broken = True
            raise BrokenExecutor("a worker or the fork server ended")
        return future

    def _is_broken(self) -> bool:
        """Whether the pool is, though it may not know it yet.

        Where the fork server is dead all its workers count as ended. The pool must not have it started
        again then, for the sake of a worker that would never get anything to do.
        """
        return self._broken or not all(worker.is_alive() for worker in self._context.started())

    def _is_parallel(self, runs: int) -> bool:
        """Whether a call goes to others. Once there was a pool there always is one: what killed a worker
        must not be tried again in this process."""
        self._pooled = self._pooled or (self.workers > 1 and runs >= self._pool_runs)
        return self._pooled or self._given is not None

    def _submit_to_pool(self, call: Callable[..., T], *args: Any) -> Future[T] | None:
        """None where the pool is broken, or a process was to be started and who starts it is dead.

        Not raised: a traceback would hold on to the pipe to a worker that was started halfway, by whose
        closing it knows that it is to end.
        """
        if self._is_broken():
            return None
        try:
            _start_fork_server()
            if self._pool is None:
                begun = time.perf_counter()
                self._pool = process_pool(self.workers, self._context)
                self._pool.submit(os.getpid).add_done_callback(lambda _call: self._answered(begun))
            future = self._pool.submit(call, *args)
        except (EOFError, ConnectionError, BrokenExecutor):
            return None
        # A pool that finds out just now that it is broken may pass over a call that comes just now: for ever.
        return None if self._is_broken() else future

    @property
    def owns_workers(self) -> bool:
        """Whether they are processes of ours, which can be watched and killed."""
        return self._given is None

    @property
    def elastic(self) -> ElasticExecutor | None:
        """The given executor, if its workers come and go."""
        return self._given if isinstance(self._given, ElasticExecutor) else None

    @property
    def pids(self) -> set[int]:
        """All processes that were ever workers of ours."""
        return self._former_pids.union(worker.pid for worker in self._context.started() if worker.pid)

    def replace_pool(self) -> bool:
        """Start another pool for one that broke, whose workers end. False where it is not ours to replace.

        A pool that works is kept; what is settled in this process goes on there. Raises
        WorkersCannotStartError where the workers of none of several pools do anything.
        """
        if self._given is not None:
            return self.elastic is not None and self.elastic.is_alive()
        if self._is_broken():
            self._restart()
        return True

    def _restart(self) -> None:
        for pause in RESTART_PAUSES:
            self._abandon_pool()
            time.sleep(pause)
            first = self._submit_to_pool(os.getpid)
            if first is not None and first.exception() is None:
                return
        raise WorkersCannotStartError

    def _abandon_pool(self) -> None:
        """Have its workers end, and wait for that.

        The pool itself may overlook a worker that was started while it found out that it was broken, and
        then waits for it for ever. Where the fork server is dead it believes that all have ended; yet
        they may be about to finish a commit.
        """
        workers = self._context.started()
        pids = [worker.pid for worker in workers if worker.pid]
        for worker in workers:
            worker.terminate()
        self.close()
        for worker in workers:
            worker.join(DRAIN_SECONDS)
            with suppress(ValueError):  # it does not end
                worker.close()  # the pipe, by which it knows that its parent is there
        _await_end(pids)
        self._former_pids.update(pids)
        self._context, self._broken = _Context(), False

    def close(self) -> None:
        """Shut down a pool of our own; a given executor is its owner's."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None


class _Context(ForkServerContext):
    """Starts a pool's processes, and knows them.

    They come from a fork server: the parent has threads (Arrow's, a progress bar's), and a
    fork of a process with threads can deadlock.
    """

    def __init__(self) -> None:
        super().__init__()
        self._workers: list[BaseProcess] = []

    def Process(self, *args: Any, **more: Any) -> BaseProcess:  # type: ignore[override]  # as pools call it
        worker = super().Process(*args, **more)
        self._workers.append(worker)
        return worker

    def started(self) -> list[BaseProcess]:
        return [worker for worker in self._workers if worker.pid is not None]


def _await_end(pids: Iterable[int]) -> None:
    """Wait for processes whose pool is shut down, but not for ever."""
    deadline = time.monotonic() + DRAIN_SECONDS
    for pid in pids:
        while is_running(pid, None) and not has_ended(pid) and time.monotonic() < deadline:
            time.sleep(0.01)


def process_pool(workers: int, context: _Context | None = None) -> ProcessPoolExecutor:
    """A pool of ``workers`` processes."""
    context = context or _Context()
    context.set_forkserver_preload(["batchpersist.settling.settle", "batchpersist.ingest.scan"])
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
