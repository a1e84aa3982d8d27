"""A worker process of a pool: it obeys its parent alone, and does not outlive it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from typing import Any

from ..locking.locks import drain

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
