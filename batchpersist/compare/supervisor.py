"""The parent of a measured batch: counts the CPU of all its processes, and leaves none behind.

Its standard input is a pipe to whoever measures. When that is closed, on purpose or by the other's death,
all processes of the batch are killed: they are one group.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

from ..errors import failure_of
from ..processes import running_in_group
from ..system_limits import refusal_in

START = "import sys; folder, sys.path[:] = sys.argv[1], sys.argv[2:]; import {0} as it; it.main(folder)"
"""Begins a module in another interpreter, which finds modules where this one does."""


def command(module: str, folder: str) -> list[str]:
    """The words that begin ``main(folder)`` of a module of this package in another process."""
    code = START.format(f"{__package__}.{module}")
    return [sys.executable, "-c", code, folder, *sys.path]


def main(folder: str) -> None:
    """Have ``child`` run the batch that is ordered in ``folder``; leaves ``usage.json`` there.

    Where the system refuses a process or a thread, the reason is the last line on standard error.
    """
    try:
        _supervise(folder)
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"{failure_of(refusal_in(error)).message}\n")


def _supervise(folder: str) -> None:
    child = subprocess.Popen(command("child", folder), stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        threading.Thread(target=_kill_at_the_end_of_input, args=(child.pid,), daemon=True).start()
        status = child.wait()
    finally:
        _end(child.pid)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(os.path.join(folder, "usage.json"), "w", encoding="utf-8") as file:
        json.dump({"status": status, "cpu_seconds": spent.ru_utime + spent.ru_stime}, file)


def _kill_at_the_end_of_input(group: int) -> None:
    while os.read(0, 4096):
        pass
    _end(group)


def _end(group: int) -> None:
    """Kill what runs of a group of processes, and wait for that."""
    while running_in_group(group):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS denies it for zombies
            os.killpg(group, signal.SIGKILL)
        time.sleep(0.01)
