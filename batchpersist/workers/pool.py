"""The workers of a batch: this process, a pool of processes, or any other ``Executor``."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from ..errors import WorkersCannotStartError, failure_of
from ..options import POOL_RUNS
from ..system_limits import no_thread
from .process_pool import DRAIN_SECONDS, NO_THREADS, PoolContext, await_end, process_pool, start_fork_server
from .worker_log import call_with_log, forward_log, is_log_wanted

T = TypeVar("T")


def usable_cpus() -> int:
    """How many processors this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # the call is missing on some systems, or denied
        return os.cpu_count() or 1


class SerialExecutor(Executor):
    """Runs each call at once in the calling thread: one worker, in-process."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Make the call; returns a future that is done already."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class ElasticExecutor(Executor):
    """An executor whose workers come and go.

    A call that is lost with its worker raises BrokenExecutor from its own future alone, and can be made
    again as long as ``is_alive``.
    """

    @property
    def threads(self) -> int:
        """About how many calls run at the same time."""
        raise NotImplementedError

    def is_alive(self) -> bool:
        """Whether another call may succeed."""
        raise NotImplementedError

    def check_reach(self, path: str) -> None:
        """Raises UsageError where a worker does not see the file ``path``."""
        raise NotImplementedError


_log = logging.getLogger(__name__)

RESTART_PAUSES = (0.0, 0.02, 0.1, 0.5)
"""Seconds before each attempt to start a new pool: a killed fork server may seem alive for a moment."""


class WorkerPool:
    """The executor of a batch: in-process until there is enough work for a pool to pay.

    An executor of the caller is used from the start and left running. An own pool can be replaced after the
    death of a worker or of the fork server, and is shut down by ``close``.
    """

    def __init__(
        self,
        workers: int,
        pool_runs: int = POOL_RUNS,
        executor: Executor | None = None,
        *,
        in_process: bool = True,
    ) -> None:
        """``pool_runs``: from how many runs on a pool pays. ``in_process=False``: always a pool, with workers
        that can be killed."""
        self.workers = workers
        self._pooled = not in_process
        self._pool_runs = pool_runs
        self._executor = executor
        self._serial = SerialExecutor()
        self._pool: ProcessPoolExecutor | None = None
        self.start_seconds = 0.0
        """Seconds from the start of the first pool until its first worker answered."""
        self._context = PoolContext()
        self._broken = False
        self._former_pids: set[int] = set()
        self._is_reported = False
        """Whether the log says why there is no pool."""

    def warm_up(self, runs: int) -> None:
        """Start the fork server early if a pool pays for so many runs: it imports what workers need."""
        if self._executor is None and self.workers > 1 and runs >= self._pool_runs:
            with suppress(OSError, EOFError):  # raised again where a pool is needed
                start_fork_server()

    def _note_start(self, begun: float) -> None:
        self.start_seconds = time.perf_counter() - begun

    def in_flight(self, runs: int) -> int:
        """How many calls to have in flight: enough that no worker waits for the parent."""
        return 2 * self.workers if self.is_parallel(runs) else 1

    def parallelism(self, runs: int) -> int:
        return self.workers if self.is_parallel(runs) else 1

    def submit(self, runs: int, call: Callable[..., T], /, *args: Any) -> Future[T]:
        """Have a worker make a call; ``runs``: the runs of the batch that are known so far.

        Raises BrokenExecutor, and WorkersCannotStartError where the system refuses what a pool needs.
        """
        if self._executor is not None:
            return self._executor.submit(call, *args)
        if not self.is_parallel(runs):
            if not self._is_reported:
                _log.debug("no pool so far: %d workers, %d of %d runs", self.workers, runs, self._pool_runs)
                self._is_reported = True
            return self._serial.submit(call, *args)
        if is_log_wanted():
            return forward_log(self._submit_or_raise(call_with_log, call, *args))
        return self._submit_or_raise(call, *args)

    def _submit_or_raise(self, call: Callable[..., T], *args: Any) -> Future[T]:
        future = self._submit_to_pool(call, *args)
        if future is None:
            self._broken = True
            raise BrokenExecutor("a worker or the fork server ended")
        return future

    def _is_broken(self) -> bool:
        """Whether the pool is broken, though it may not know it yet.

        Where the fork server is dead, all its workers count as ended. The pool must not start another one
        then, for a worker that would never get anything to do.
        """
        return self._broken or not all(worker.is_alive() for worker in self._context.started())

    def is_parallel(self, runs: int) -> bool:
        """Whether calls go to other processes. Once there was a pool there always is one: a run that killed
        a worker must not be tried again in this process."""
        self._pooled = self._pooled or (self.workers > 1 and runs >= self._pool_runs)
        return self._pooled or self._executor is not None

    def _submit_to_pool(self, call: Callable[..., T], *args: Any) -> Future[T] | None:
        """None where the pool is broken, or its fork server is dead and a process has to be started.

        Nothing is raised for it: a traceback would keep open the pipe to a worker that was started halfway,
        which ends only when that is closed.
        """
        if self._is_broken():
            return None
        try:
            if len(self._context.started()) < self.workers:  # the pool may start one more for this call
                start_fork_server()
            if self._pool is None:
                begun = time.perf_counter()
                _log.debug("starting a pool of %d workers", self.workers)
                self._pool = process_pool(self.workers, self._context)
                self._pool.submit(os.getpid).add_done_callback(lambda _call: self._note_start(begun))
            future = self._pool.submit(call, *args)
        except (EOFError, ConnectionError, BrokenExecutor):
            return None
        except OSError as error:  # a pool that breaks now closes the descriptors for a new process
            if not self._is_broken():
                raise WorkersCannotStartError(str(failure_of(error))) from error
            return None
        except RuntimeError as error:  # the pool's own thread cannot be started
            self._abandon_pool()
            raise WorkersCannotStartError(str(failure_of(no_thread()))) from error
        # A pool that is just finding out that it is broken may overlook this call, which would never end.
        return None if self._is_broken() else future

    @property
    def owns_workers(self) -> bool:
        """Whether the workers are processes of this pool, which can be watched and killed."""
        return self._executor is None

    @property
    def elastic(self) -> ElasticExecutor | None:
        """The caller's executor, if its workers come and go."""
        return self._executor if isinstance(self._executor, ElasticExecutor) else None

    @property
    def pids(self) -> set[int]:
        """All processes that were ever workers of this pool."""
        return self._former_pids.union(worker.pid for worker in self._context.started() if worker.pid)

    @property
    def live_pids(self) -> set[int]:
        """The workers that run."""
        return {worker.pid for worker in self._context.started() if worker.pid and worker.is_alive()}

    def replace_pool(self) -> bool:
        """Replace a broken pool, and end its workers. False where a broken executor is the caller's.

        A pool that works is kept. Raises WorkersCannotStartError where the workers of several new pools end
        before they do anything.
        """
        if self._executor is not None:
            return self.elastic is not None and self.elastic.is_alive()
        if self._is_broken():
            self._restart()
        return True

    def _restart(self) -> None:
        for worker in self._context.started():
            if worker.exitcode is not None:
                _log.debug("worker %s ended with exit code %d", worker.pid, worker.exitcode)
        if any(worker.exitcode == NO_THREADS for worker in self._context.started()):
            raise WorkersCannotStartError(str(failure_of(no_thread())))
        for pause in RESTART_PAUSES:
            self._abandon_pool()
            time.sleep(pause)
            first = self._submit_to_pool(os.getpid)
            if first is not None and first.exception() is None:
                return
            _log.debug("the workers of a new pool end at once")
        raise WorkersCannotStartError

    def _abandon_pool(self) -> None:
        """End the workers, and wait for their end.

        The pool itself may overlook a worker that was started while it found out that it was broken, and then
        waits for it without end. Where the fork server is dead it believes that all have ended; yet they may
        still be finishing a commit.
        """
        workers = self._context.started()
        pids = [worker.pid for worker in workers if worker.pid]
        for worker in workers:
            worker.terminate()
        self.close()
        for worker in workers:
            worker.join(DRAIN_SECONDS)
            with suppress(ValueError):  # it has not ended
                worker.close()  # the pipe, by which a worker sees that its parent lives
        await_end(pids)
        self._former_pids.update(pids)
        self._context, self._broken = PoolContext(), False

    def abandon(self) -> None:
        """End the workers of an own pool, whatever they are doing; an executor of the caller goes on."""
        if self._pool is not None:
            self._abandon_pool()

    def close(self) -> None:
        """Shut down an own pool; an executor of the caller is left running."""
        if self._pool is not None:
            with suppress(RuntimeError):  # the pool's thread was never started
                self._pool.shutdown(wait=True)
            self._pool = None
