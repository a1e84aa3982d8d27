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
    """Those that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not everywhere there, nor allowed
        return os.cpu_count() or 1


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


_log = logging.getLogger(__name__)

RESTART_PAUSES = (0.0, 0.02, 0.1, 0.5)
"""Seconds before each attempt at another pool: a fork server that was killed may seem alive for a moment."""


class WorkerPool:
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
        self._context = PoolContext()
        self._broken = False
        self._former_pids: set[int] = set()
        self._is_reported = False
        """Why there is no pool."""

    def warm_up(self, runs: int) -> None:
        """Have the fork server import meanwhile what workers need, if so many runs are expected."""
        if self._given is None and self.workers > 1 and runs >= self._pool_runs:
            with suppress(OSError, EOFError):  # whoever needs it hears of it then
                start_fork_server()

    def _answered(self, begun: float) -> None:
        self.start_seconds = time.perf_counter() - begun

    def in_flight(self, runs: int) -> int:
        """How many calls to have submitted at once: enough that no worker waits for the parent."""
        return 2 * self.workers if self.is_parallel(runs) else 1

    def parallelism(self, runs: int) -> int:
        return self.workers if self.is_parallel(runs) else 1

    def submit(self, runs: int, call: Callable[..., T], /, *args: Any) -> Future[T]:
        """Have the executor make a call, ``runs`` runs of the batch being known.

        Raises BrokenExecutor, and WorkersCannotStartError where the system refuses what a pool needs.
        """
        if self._given is not None:
            return self._given.submit(call, *args)
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
        """Whether the pool is, though it may not know it yet.

        Where the fork server is dead all its workers count as ended. The pool must not have it started
        again then, for the sake of a worker that would never get anything to do.
        """
        return self._broken or not all(worker.is_alive() for worker in self._context.started())

    def is_parallel(self, runs: int) -> bool:
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
            if len(self._context.started()) < self.workers:  # one more may be started for this call
                start_fork_server()
            if self._pool is None:
                begun = time.perf_counter()
                _log.debug("starting a pool of %d workers", self.workers)
                self._pool = process_pool(self.workers, self._context)
                self._pool.submit(os.getpid).add_done_callback(lambda _call: self._answered(begun))
            future = self._pool.submit(call, *args)
        except (EOFError, ConnectionError, BrokenExecutor):
            return None
        except OSError as error:  # a pool that breaks meanwhile closes what a new process is to be given
            if not self._is_broken():
                raise WorkersCannotStartError(str(failure_of(error))) from error
            return None
        except RuntimeError as error:  # its own thread cannot be started
            self._abandon_pool()
            raise WorkersCannotStartError(str(failure_of(no_thread()))) from error
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

    @property
    def live_pids(self) -> set[int]:
        """Those of them that run."""
        return {worker.pid for worker in self._context.started() if worker.pid and worker.is_alive()}

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
        await_end(pids)
        self._former_pids.update(pids)
        self._context, self._broken = PoolContext(), False

    def abandon(self) -> None:
        """End the workers of a pool of our own, whatever they are at; a given executor is its owner's."""
        if self._pool is not None:
            self._abandon_pool()

    def close(self) -> None:
        """Shut down a pool of our own; a given executor is its owner's."""
        if self._pool is not None:
            with suppress(RuntimeError):  # its thread was never started
                self._pool.shutdown(wait=True)
            self._pool = None
