"""The parent of a measured batch: counts the CPU of all its processes, and leaves none behind.

Run as a process of its own, since it becomes the parent of whatever its children leave: the pool's
fork server ends after the batch itself, and the workers' CPU would be nobody's. Its standard input
is a pipe to whoever measures. When that is closed, on purpose or by the other's death, all
processes of the batch are killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading

_SET_CHILD_SUBREAPER = 36
"""Of prctl(2)."""

START = "import sys; folder, sys.path[:] = sys.argv[1], sys.argv[2:]; import {0} as it; it.main(folder)"
"""Begins a module in another interpreter, which finds modules where this one does."""


def command(module: str, folder: str) -> list[str]:
    """The words that begin ``main(folder)`` of a module of this package in another process."""
    code = START.format(f"{__package__}.{module}")
    return [sys.executable, "-c", code, folder, *sys.path]


def main(folder: str) -> None:
    """Have ``child`` run the batch that is ordered in ``folder``; leaves ``usage.json`` there."""
    _adopt_orphans()
    child = subprocess.Popen(command("child", folder), stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_kill_at_the_end_of_input, args=(child.pid,), daemon=True).start()
    status = child.wait()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(os.path.join(folder, "usage.json"), "w", encoding="utf-8") as file:
        json.dump({"status": status, "cpu_seconds": spent.ru_utime + spent.ru_stime}, file)


def _adopt_orphans() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _kill_at_the_end_of_input(group: int) -> None:
    while os.read(0, 4096):
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
