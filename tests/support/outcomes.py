"""Batches as plain rows: the outcomes of workers made from them, and the rows expected in the table."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st
from support.engine import file_columns

from batchpersist.models import Commit, Failure, Shard, ShardOutcome, Side, Work
from batchpersist.sources.formats import Format
from batchpersist.sources.source import SourceFile

sixty_examples = settings(max_examples=60, deadline=None)
FAILED_SIDES = (Side.FAILED, Side.LOCKED)


@dataclass(frozen=True)
class Row:
    """A run of the plan, and the outcome of its two sides."""

    task_id: str
    run_id: str
    superseded: bool = False
    snapshot: Side = Side.PERSISTED
    manifest: Side = Side.PERSISTED
    snapshot_seconds: float = 0.25
    manifest_seconds: float = 0.5
    pair_seconds: float = 0.75
    manifest_bytes: int = 100
    snapshot_failure: Failure | None = None
    manifest_failure: Failure | None = None
    shard: int | None = None
    source: str = "runs.jsonl"
    line: int = 1
    timestamp: str = "2026-01-01T00:00:00.000Z"

    @property
    def status(self) -> str:
        sides = (self.snapshot, self.manifest)
        if self.superseded:
            return "superseded"
        if any(side in FAILED_SIDES for side in sides):
            return "failed"
        if any(side is Side.NOT_ATTEMPTED for side in sides):
            return "not_attempted"
        return "unchanged" if all(side is Side.UNCHANGED for side in sides) else "persisted"

    def as_columns(self) -> dict[str, object]:
        """The row of the outcome table."""
        snapshot, manifest = self.snapshot is not Side.NOT_ATTEMPTED, self.manifest is not Side.NOT_ATTEMPTED
        return {
            **{
                name: getattr(self, name)
                for name in ("task_id", "run_id", "timestamp", "source", "line", "status")
            },
            "snapshot": self.snapshot.name.lower(),
            "manifest": self.manifest.name.lower(),
            **_error("snapshot", self.snapshot_failure),
            **_error("manifest", self.manifest_failure),
            "snapshot_seconds": self.snapshot_seconds if snapshot else None,
            "manifest_seconds": self.manifest_seconds if manifest else None,
            "pair_seconds": self.pair_seconds if snapshot or manifest else None,
            "manifest_bytes": self.manifest_bytes,
            "shard": self.shard,
        }


def _error(side: str, failure: Failure | None) -> dict[str, object]:
    values = failure or (None, None, None)
    return {f"{side}_error_{name}": value for name, value in zip(Failure._fields, values, strict=True)}


def plan_rows(rows: Sequence[Row]) -> pa.Table:
    """The plan's table of these rows, with the columns encoded as the index encodes them."""
    text, repeated = pa.string(), pa.dictionary(pa.int32(), pa.string())
    kinds = {"task_id": repeated, "run_id": text, "timestamp": text}
    kinds |= {"line": pa.int64(), "superseded": pa.bool_()}
    columns = {name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in kinds.items()}
    files = [SourceFile("/in", row.source, Format.LINES) for row in rows]
    return pa.table({**columns, **file_columns(*files)})


def make_outcome(rows: Sequence[Row], shard: Shard) -> ShardOutcome:
    """The outcome of a worker that persists a shard with the sides that its rows say."""
    part = rows[shard.start : shard.stop]
    snapshot, manifest = shard.work is not Work.MANIFEST, shard.work is not Work.SNAPSHOT
    nothing = [Side.NOT_ATTEMPTED] * len(part)
    commits = {row.task_id: row for row in part} if snapshot else {}
    return ShardOutcome(
        shard=shard,
        snapshot=bytes(row.snapshot for row in part) if snapshot else nothing,
        manifest=array("b", [row.manifest for row in part]) if manifest else nothing,
        snapshot_seconds=[row.snapshot_seconds if snapshot else 0.0 for row in part],
        manifest_seconds=array("d", [row.manifest_seconds if manifest else 0.0 for row in part]),
        pair_seconds=[row.pair_seconds for row in part],
        manifest_bytes=array("q", [row.manifest_bytes if manifest else 0 for row in part]),
        snapshot_failures=_failures([row.snapshot_failure if snapshot else None for row in part]),
        manifest_failures=_failures([row.manifest_failure if manifest else None for row in part]),
        commits=[Commit(task, 1, row.snapshot, row.snapshot_seconds, 1000) for task, row in commits.items()],
        pair_wall=1.0,
        sum_if_sequential=1.5,
        started=1000.0,
        finished=1000.75,
        phases={"sync": 0.25},
        syncs=3,
    )


def _failures(failures: Sequence[Failure | None]) -> dict[int, Failure]:
    return {place: failure for place, failure in enumerate(failures) if failure}


def expected_rows(rows: Sequence[Row], shards: Sequence[Shard]) -> list[Row]:
    """The rows of the outcome table if only these shards were returned."""
    return [_expected_row(row, place, shards) for place, row in enumerate(rows)]


def _expected_row(row: Row, place: int, shards: Sequence[Shard]) -> Row:
    mine = [shard for shard in shards if shard.start <= place < shard.stop]
    if not any(shard.work is not Work.MANIFEST for shard in mine):
        row = replace(row, snapshot=Side.NOT_ATTEMPTED, snapshot_failure=None)
    numbers = [shard.number for shard in mine if shard.work is not Work.SNAPSHOT]
    if numbers:
        return replace(row, shard=numbers[0])
    return replace(row, shard=None, manifest=Side.NOT_ATTEMPTED, manifest_failure=None, manifest_bytes=0)


_seconds = st.integers(0, 2_000).map(lambda number: number / 1000)
_failure = st.builds(
    Failure,
    type=st.sampled_from(["OSError", "SnapshotError"]),
    message=st.sampled_from(["[ENOSPC] No space left", "not a snapshot", "größer"]),
    detail=st.sampled_from(["", "/a/b", "byte 7"]),
)


@st.composite
def _row(draw: st.DrawFn, task_id: str, number: int) -> Row:
    snapshot = draw(st.sampled_from(Side))
    manifest = draw(st.sampled_from([side for side in Side if side is not Side.LOCKED]))
    return Row(
        task_id=task_id,
        run_id=f"run-{number}",
        superseded=draw(st.booleans()),
        snapshot=snapshot,
        manifest=manifest,
        snapshot_seconds=draw(_seconds),
        manifest_seconds=draw(_seconds),
        pair_seconds=draw(_seconds),
        manifest_bytes=draw(st.integers(0, 10_000)),
        snapshot_failure=draw(_failure) if snapshot in FAILED_SIDES else None,
        manifest_failure=draw(_failure) if manifest in FAILED_SIDES else None,
        line=number,
    )


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Row], list[Shard]]:
    """Rows of some tasks and, in any order, the shards that were returned: pairs, and split tasks."""
    rows: list[Row] = []
    shards: list[Shard] = []
    for task in range(draw(st.integers(0, 3))):
        start = len(rows)
        rows += [
            draw(_row(f"task-{9 - task}", start + place + 1)) for place in range(draw(st.integers(1, 5)))
        ]
        shards += draw(_shards(start, len(rows)))
    numbered = [shard._replace(number=number) for number, shard in enumerate(shards)]
    home = draw(st.lists(st.booleans(), min_size=len(shards), max_size=len(shards)))
    kept = [shard for shard, came in zip(numbered, home, strict=True) if came]
    return rows, draw(st.permutations(kept))


@st.composite
def _shards(draw: st.DrawFn, start: int, stop: int) -> list[Shard]:
    if draw(st.booleans()):
        return [Shard(0, Work.PAIR, start, stop, 1)]
    middle = draw(st.integers(start, stop))
    return [
        Shard(0, Work.SNAPSHOT, start, stop, 1),
        Shard(0, Work.MANIFEST, start, middle, 1),
        Shard(0, Work.MANIFEST, middle, stop, 1),
    ]
