"""Task histories for the benchmarks: a snapshot of any size, and another program that adds to it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from batchpersist.locks.task_lock import TaskLock
from batchpersist.options import LockPolicy
from batchpersist.paths import Layout

TASK = "task"
PATIENT = LockPolicy(attempts=1000, max_delay_seconds=0.05)
_NOTE = "What was thought about, tried and given up on the way. " * 36
_TAIL = b"\n  ]\n}"


def run(run_id: str, second: float) -> dict[str, object]:
    """A completed run of about 2.5 KB."""
    return {
        "taskId": TASK,
        "runId": run_id,
        "timestamp": time_of(second),
        "plan": {"items": [{"id": str(item), "description": "a step"} for item in range(8)], "notes": _NOTE},
        "test": {"success": True, "reports": []},
    }


def time_of(second: float) -> str:
    return f"2025-01-01T00:00:{second:015.6f}Z"


def write_history(path: Path, size: int) -> int:
    """Write a snapshot of about ``size`` bytes as the orchestrator would; returns how many runs it has."""
    count = max(1, size // len(_entry(run("0" * 20, 0))))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(_head(count - 1))
        for number in range(count):
            file.write((b",\n    " if number else b"") + _entry(run(f"{number:020}", number)))
        file.write(_TAIL)
    return count


def keep_adding(layout: Layout, first: int, pause: float, stop: Path) -> None:
    """Add a run again and again, under the task's lock, until the file ``stop`` is there.

    The fastest other program there can be: it copies the bytes and never parses them.
    """
    path, beside = Path(layout.snapshot(TASK)), Path(layout.task_dir(TASK), "other.tmp")
    number = first
    while not stop.exists():
        with TaskLock(layout, TASK, PATIENT):
            with path.open("rb") as old, beside.open("wb") as new:
                new.write(_head(number))
                end = os.fstat(old.fileno()).st_size - len(_TAIL)
                offset = len(_head(number))
                while offset < end:
                    block = os.pread(old.fileno(), min(1 << 20, end - offset), offset)
                    offset += new.write(block)
                new.write(b",\n    " + _entry(run(f"other-{number}", number)) + _TAIL)
            beside.replace(path)
        number += 1
        time.sleep(pause)


def _head(last: int) -> bytes:
    head = f'{{\n  "taskId": "{TASK}",\n  "lastRunAt": "{time_of(last)}",\n  "runs": [\n    '
    return head.encode()


def _entry(value: dict[str, object]) -> bytes:
    return json.dumps(value, indent=2).encode().replace(b"\n", b"\n    ")
