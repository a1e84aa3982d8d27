"""Runs, a source on disk, its index and its plan; and the files that a batch leaves."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchpersist.arrow_tables import index_schema
from batchpersist.models import ShardOutcome, Side
from batchpersist.options import Selection
from batchpersist.plan.planner import Plan, make_plan
from batchpersist.sources.formats import Format
from batchpersist.sources.source import SourceFile
from batchpersist.storage.fingerprint import file_clock

Run = dict[str, Any]


def run(task: str, number: int, **more: Any) -> Run:
    """A completed run; its number orders it."""
    return {
        "taskId": task,
        "runId": f"run-{number}",
        "timestamp": f"2026-01-01T00:{number:02d}:00.000Z",
        "mode": "mcp",
        **more,
    }


def await_tick() -> None:
    """Wait until files written so far are older than any written next: a batch may cache them."""
    now = time.time_ns()  # files' times may be finer than the file clock's, and ahead of it
    while file_clock() <= now:
        time.sleep(0.0005)


def slow_file_clock() -> int:
    """A file clock that waits for a tick: a batch can cache the files that it has just written."""
    await_tick()
    return file_clock()


def file_columns(*files: SourceFile) -> dict[str, pa.Array]:
    """The columns of an index that name the file of each row."""
    origins, below = zip(*(file.encode() for file in files), strict=True) if files else ((), ())
    kinds = {"origin": pa.binary(), "file": pa.string()}
    values = zip(kinds.items(), (origins, below), strict=True)
    return {name: pa.array(column, kind).dictionary_encode() for (name, kind), column in values}


def write_source(path: Path, runs: Sequence[Run]) -> pa.Table:
    """Write runs as JSON lines; returns their index."""
    lines = [json.dumps(item).encode() + b"\n" for item in runs]
    path.write_bytes(b"".join(lines))
    offsets = [sum(map(len, lines[:number])) for number in range(len(lines))]
    repeated = pa.dictionary(pa.int32(), pa.string())
    return pa.table(
        {
            "task_id": pa.array([item["taskId"] for item in runs], pa.string()).cast(repeated),
            "run_id": pa.array([item["runId"] for item in runs], pa.string()),
            "timestamp": pa.array([item["timestamp"] for item in runs], pa.string()),
            **file_columns(*[SourceFile(str(path), path.name, Format.LINES)] * len(runs)),
            "offset": pa.array(offsets, pa.int64()),
            "length": pa.array([len(line) - 1 for line in lines], pa.int64()),
            "line": pa.array(range(1, len(runs) + 1), pa.int64()),
            "known": pa.nulls(len(runs), pa.int32()),
        },
        schema=index_schema(),
    )


def plan_of(path: Path, runs: Sequence[Run], *, workers: int = 1) -> Plan:
    return make_plan(write_source(path, runs), Selection(), workers=workers)


def text(value: Any) -> bytes:
    """As JSON.stringify(value, null, 2) writes plain values."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def snapshot_text(task: str, runs: Sequence[Run]) -> bytes:
    return text({"taskId": task, "lastRunAt": runs[-1]["timestamp"], "runs": list(runs)})


def snapshot_sides(outcome: ShardOutcome) -> list[Side]:
    return [Side(side) for side in outcome.snapshot]


def manifest_sides(outcome: ShardOutcome) -> list[Side]:
    return [Side(side) for side in outcome.manifest]


def tree(root: Path) -> dict[str, bytes]:
    """Relative path -> content of all files, but for batchpersist's own folder."""
    files = (path for path in root.rglob("*") if path.is_file())
    named = {path.relative_to(root).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in named.items() if ".batchpersist/" not in name}
