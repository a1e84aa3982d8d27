"""Scan sources as a batch does, in one process, and read each document from its place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from batchpersist.index.scan_worker import ScanResult, run_scan_task
from batchpersist.models import DEFAULT_KEYS, Keys, Reject, SkippedCounts
from batchpersist.sources.discovery import discover
from batchpersist.sources.scan_tasks import ScanTask
from batchpersist.sources.source import SourceFile


class Row(NamedTuple):
    name: str
    line: int
    task_id: str
    run_id: str
    timestamp: str
    document: bytes


@dataclass
class Scan(SkippedCounts):
    rows: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    tasks: int = 0
    other_events: int = 0
    bytes_read: int = 0

    @property
    def run_ids(self) -> list[str]:
        return [row.run_id for row in self.rows]


def scan(
    spool_dir: Path, *sources: Path | str, scan_task_bytes: int = 8 << 20, keys: Keys = DEFAULT_KEYS
) -> Scan:
    """The result of all scan tasks, in order; lines of ranges become lines of their file."""
    spool_dir.mkdir(exist_ok=True)
    result, before = Scan(), 0
    tasks = discover([str(source) for source in sources], scan_task_bytes=scan_task_bytes)
    for scanned in run_scan_tasks(tasks, keys, spool_dir):
        before = 0 if scanned.starts_file else before
        for row in rows_of(scanned):
            file = SourceFile.decode(row["origin"], row["file"])
            with open(file.data_path(str(spool_dir)), "rb") as source:
                source.seek(row["offset"])
                document = source.read(row["length"])
            identity = (row["task_id"], row["run_id"], row["timestamp"])
            result.rows.append(Row(file.name, row["line"] + before, *identity, document))
        result.rejects += [reject._replace(line=reject.line + before) for reject in scanned.rejects]
        before += scanned.line_count
        result.tasks += 1
        result.other_events += scanned.other_events
        result.add_skipped(scanned.skipped)
        result.bytes_read += scanned.bytes_read
    return result


def rows_of(scanned: ScanResult) -> list[dict[str, Any]]:
    return [] if scanned.rows is None else scanned.rows.to_pylist()


def run_scan_tasks(scan_tasks: Iterable[ScanTask], keys: Keys, spool_dir: Path) -> Iterator[ScanResult]:
    """The result of each scan task, and after it those of what it leaves."""
    for scan_task in scan_tasks:
        result = run_scan_task(scan_task, keys, str(spool_dir))
        yield result
        yield from run_scan_tasks(result.remaining, keys, spool_dir)


def run(run_id: str = "r1", **members: Any) -> dict[str, Any]:
    return {"taskId": "t", "runId": run_id, "timestamp": "2025-01-01T00:00:00.000Z"} | members


def text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def lines(*values: Any) -> bytes:
    return b"".join(text(value) + b"\n" for value in values)


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
