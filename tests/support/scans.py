"""Scanning sources as a batch does, in one process, with everything read back from its place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from batchpersist.index.scan_worker import scan_part
from batchpersist.models import DEFAULT_KEYS, Keys
from batchpersist.sources.discovery import discover
from batchpersist.sources.location import decoded
from batchpersist.sources.scan_tasks import Part, Reject, ScannedPart
from batchpersist.sources.staging import place


class Row(NamedTuple):
    name: str
    line: int
    task_id: str
    run_id: str
    timestamp: str
    document: bytes


@dataclass
class Scan:
    rows: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    parts: int = 0
    other_events: int = 0
    other_manifests: int = 0
    ignored_files: int = 0
    incomplete: int = 0
    bytes_read: int = 0

    @property
    def run_ids(self) -> list[str]:
        return [row.run_id for row in self.rows]


def scan(spool_dir: Path, *sources: Path | str, part_bytes: int = 8 << 20, keys: Keys = DEFAULT_KEYS) -> Scan:
    """All parts of the sources, in order; lines of ranges are turned into lines of their file."""
    spool_dir.mkdir(exist_ok=True)
    result, before = Scan(), 0
    for scanned in scan_parts(
        discover([str(source) for source in sources], part_bytes=part_bytes), keys, spool_dir
    ):
        before = 0 if scanned.starts_file else before
        for row in rows_of(scanned):
            file = decoded(row["origin"], row["file"])
            with open(place(file.path, file.format, str(spool_dir)), "rb") as source:
                source.seek(row["offset"])
                document = source.read(row["length"])
            identity = (row["task_id"], row["run_id"], row["timestamp"])
            result.rows.append(Row(file.name, row["line"] + before, *identity, document))
        result.rejects += [reject._replace(line=reject.line + before) for reject in scanned.rejects]
        before += scanned.line_count
        result.parts += 1
        result.other_events += scanned.other_events
        result.other_manifests += scanned.other_manifests
        result.ignored_files += scanned.ignored_files
        result.incomplete += scanned.incomplete
        result.bytes_read += scanned.bytes_read
    return result


def rows_of(scanned: ScannedPart) -> list[dict[str, Any]]:
    return [] if scanned.rows is None else scanned.rows.to_pylist()


def scan_parts(parts: Iterable[Part], keys: Keys, spool_dir: Path) -> Iterator[ScannedPart]:
    """Each part, and after it what it left."""
    for part in parts:
        scanned = scan_part(part, keys, str(spool_dir))
        yield scanned
        yield from scan_parts(scanned.more, keys, spool_dir)


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
