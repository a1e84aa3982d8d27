"""Runs functions of test modules in several real processes at once."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from typing import Any

SPAWN = multiprocessing.get_context("spawn")
_PATIENCE = 60.0
"""Seconds after which a process hangs for certain."""


def run_together(target: Callable[..., None], count: int, *args: Any) -> None:
    """``target(*args)`` in ``count`` processes, awaited to the end; fails where one of them failed.

    Something shared among them, such as a barrier, must be kept by the caller until they have started.
    """
    start_together(target, count, *args)()


def start_together(target: Callable[..., None], count: int, *args: Any) -> Callable[[], None]:
    """As ``run_together``, but returns at once the function that waits for the end."""
    processes = [SPAWN.Process(target=target, args=args) for _ in range(count)]
    for process in processes:
        process.start()

    def wait() -> None:
        for process in processes:
            process.join(_PATIENCE)
        codes = [process.exitcode for process in processes]
        for process in processes:
            process.kill()
        assert codes == [0] * count

    return wait


def dead_pid() -> int:
    """The pid of a process that was there and has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
