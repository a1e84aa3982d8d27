"""The contract of docs/formats.md in plain Python: slow, obvious, and independent of batchpersist.

It persists runs as the orchestrator does, one after the other. What batchpersist writes in
one go must be, byte for byte, what this writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Run = dict[str, Any]
Snapshot = dict[str, Any]

KEYS = ("taskId", "runId", "timestamp")
"""Under which names a run carries its task, its own id and its completion time."""


class NoSnapshotError(Exception):
    """The task's runs.json is not a snapshot of that task."""


def stringify(value: object) -> str:
    """``JSON.stringify(value, null, 2)``.

    Floats come out as Python spells them, which is JavaScript's way for 0.5 and the like only.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return re.sub("[\ud800-\udfff]", lambda lone: f"\\u{ord(lone[0]):04x}", text)


def javascript_order(text: str) -> bytes:
    """A key by which strings sort as they compare in JavaScript: by their UTF-16 code units."""
    return text.encode("utf-16-be", "surrogatepass")


def record(snapshot: Snapshot | None, run: Run, task_id: str, keys: tuple[str, str, str] = KEYS) -> Snapshot:
    """The snapshot of a task after one more completed run; None: there was none before."""
    _, run_key, time_key = keys
    runs: list[Run] = list(snapshot["runs"]) if snapshot is not None else []
    ids = [other[run_key] for other in runs]
    times = [javascript_order(other[time_key]) for other in runs]
    time = javascript_order(run[time_key])

    if run[run_key] in ids:
        runs[ids.index(run[run_key])] = run
        runs.sort(key=lambda other: javascript_order(other[time_key]))
    elif not runs or time >= times[-1]:
        runs.append(run)
    else:
        low, high = 0, len(runs)
        while low < high:
            middle = (low + high) // 2
            if times[middle] <= time:
                low = middle + 1
            else:
                high = middle
        runs.insert(low, run)
    return {"taskId": task_id, "lastRunAt": runs[-1][time_key], "runs": runs}


def read_snapshot(task_dir: Path, task_id: str) -> Snapshot | None:
    """What a task's next run is recorded into. NoSnapshotError: its runs.json must be left alone."""
    if (task_dir / "runs.json").exists():
        snapshot = _parse(task_dir / "runs.json", task_id)
        if snapshot is None:
            raise NoSnapshotError(task_id)
        return snapshot
    return _parse(task_dir / "state.json", task_id) if (task_dir / "state.json").exists() else None


def _parse(path: Path, task_id: str) -> Snapshot | None:
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError:
        return None
    is_snapshot = isinstance(value, dict) and value.get("taskId") == task_id
    return value if is_snapshot and isinstance(value.get("runs"), list) else None


def persist(runs: Iterable[Run], out_dir: Path, runs_dir: Path, keys: tuple[str, str, str] = KEYS) -> None:
    """Persist the pair of each run, in their order, one after the other.

    A task that is locked, or whose snapshot cannot be read, keeps its snapshot as it is; its
    manifests are written all the same.
    """
    for run in runs:
        task_id, run_id = run[keys[0]], run[keys[1]]
        if not (runs_dir / f"{task_id}.lock").exists():
            try:
                before = read_snapshot(out_dir / task_id, task_id)
            except NoSnapshotError:
                pass
            else:
                _write(out_dir / task_id / "runs.json", record(before, run, task_id, keys))
        _write(runs_dir / task_id / run_id / "manifest.json", run)


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stringify(value).encode())
