"""What a worker has to say of its shard in the batch's journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from ..models import ShardOutcome, Side
from ..planning.job import ShardRows
from ..stamps import NO_STAMP, STAMP_BYTES
from .journal import DIGEST_BYTES, RunEntry, ShardEntry, TaskEntry, encode_entry

_Pair = tuple[int, int]

_SIDES = tuple(Side)
"""By their numbers: to call ``Side`` for each run would cost ten times as much."""


def shard_entry(outcome: ShardOutcome, rows: ShardRows, digests: bytearray) -> bytes:
    """The journal's line for a shard that has settled; ``digests`` are its runs' (``DIGEST_BYTES`` each)."""
    sides = Counter(zip(outcome.snapshot, outcome.manifest, strict=True))
    stamps = {commit.task_id: commit.stamp for commit in outcome.commits if commit.side is Side.PERSISTED}
    tasks = [
        TaskEntry(task, _given(stamps.get(task, NO_STAMP)), list(_runs(outcome, rows, span, digests)))
        for task, span in rows.tasks(range(len(rows)))
        if _has_persisted(outcome, slice(span.start, span.stop))
    ]
    return encode_entry(
        ShardEntry(
            number=outcome.shard.number,
            work=outcome.shard.work,
            runs=len(rows),
            unchanged=_sum(sides, lambda pair: Side.PERSISTED not in pair and Side.UNCHANGED in pair),
            failed=_sum(sides, lambda pair: Side.FAILED in pair or Side.LOCKED in pair),
            started=outcome.started,
            finished=outcome.finished,
            pid=outcome.pid,
            tasks=[task for task in tasks if task.runs],
        )
    )


def _sum(sides: Counter[_Pair], condition: Callable[[_Pair], bool]) -> int:
    return sum(count for pair, count in sides.items() if condition(pair))


def _has_persisted(outcome: ShardOutcome, rows: slice) -> bool:
    """Told at little cost: a night with little that is new has hardly any."""
    return Side.PERSISTED in outcome.snapshot[rows] or Side.PERSISTED in outcome.manifest[rows]


def _runs(outcome: ShardOutcome, rows: ShardRows, span: range, digests: bytearray) -> Iterator[RunEntry]:
    for row in span:
        sides = _SIDES[outcome.snapshot[row]], _SIDES[outcome.manifest[row]]
        if Side.PERSISTED in sides and not rows.superseded(row):
            digest = bytes(digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES])
            stamp = bytes(outcome.manifest_stamps[row * STAMP_BYTES : (row + 1) * STAMP_BYTES])
            yield RunEntry(rows.run_ids[row], digest, *sides, _given(stamp))


def _given(stamp: bytes) -> bytes:
    return b"" if stamp == NO_STAMP else stamp
