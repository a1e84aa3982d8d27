"""Real processes: functions of tests that run in several at once, and the id of one that has ended."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from typing import Any

SPAWN = multiprocessing.get_context("spawn")
_TIMEOUT = 60.0
"""Seconds after which a process counts as hanging."""


def run_together(target: Callable[..., None], count: int, *args: Any) -> None:
    """Run ``target(*args)`` in ``count`` processes and wait for their end; fails if one of them fails.

    The caller must keep shared objects, such as a barrier, until all processes have started.
    """
    start_together(target, count, *args)()


def start_together(target: Callable[..., None], count: int, *args: Any) -> Callable[[], None]:
    """Start the processes as ``run_together`` does; returns a function that waits for their end."""
    processes = [SPAWN.Process(target=target, args=args) for _ in range(count)]
    for process in processes:
        process.start()

    def wait() -> None:
        for process in processes:
            process.join(_TIMEOUT)
        codes = [process.exitcode for process in processes]
        for process in processes:
            process.kill()
        assert codes == [0] * count

    return wait


def dead_pid() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
