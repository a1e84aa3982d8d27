"""The stamps of what a batch wrote or found standing, by row of its plan: for the next batch's catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..columns import adopt_pieces, encoded
from ..models import ShardOutcome, Side, Work
from ..stamps import NO_STAMP, STAMP_BYTES

if TYPE_CHECKING:
    import pyarrow as pa


def stamps_at(numbers: pa.Array, stamps: pa.Array) -> pa.Array:
    """``stamps`` by their numbers; NO_STAMP where there is none."""
    import pyarrow as pa

    return stamps.take(numbers).fill_null(pa.scalar(NO_STAMP, stamps.type))


class OutcomeStamps:
    """Takes in shard outcomes; for one thread. Rows of none have NO_STAMP."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._of_manifests = bytearray()
        self._of_snapshots: dict[str, bytes] = {}

    def add(self, outcome: ShardOutcome) -> None:
        for commit in outcome.commits:
            # What an earlier one of several commits recorded, the last one's stamp does not vouch for.
            once = commit.task_id not in self._of_snapshots
            self._of_snapshots[commit.task_id] = commit.stamp if once else NO_STAMP
        if outcome.manifest_stamps and outcome.shard.work is not Work.SNAPSHOT:
            self._of_manifests = self._of_manifests or bytearray(STAMP_BYTES * self._rows)
            place = memoryview(self._of_manifests)[STAMP_BYTES * outcome.shard.start :]
            place[: len(outcome.manifest_stamps)] = outcome.manifest_stamps

    def of_manifests(self, rows: pa.Array) -> pa.Array:
        """Of each of ``rows`` (numbers, or null): the stamp of the manifest with its text, or NO_STAMP."""
        import pyarrow as pa

        if not self._of_manifests:
            return pa.repeat(pa.scalar(NO_STAMP, pa.binary(STAMP_BYTES)), len(rows))
        return stamps_at(rows, adopt_pieces(self._of_manifests, STAMP_BYTES))

    def of_snapshots(self, tasks: pa.ChunkedArray, states: pa.Array) -> pa.Array:
        """The stamp of the regular snapshot that holds the entry of a run, or NO_STAMP.

        For each run: its task's id, and how its entry settled (``Side``), or null.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = pa.binary(STAMP_BYTES)
        named = encoded(tasks)
        stamps = [self._of_snapshots.get(task, NO_STAMP) for task in named.dictionary.to_pylist()]
        stand = pc.is_in(states, value_set=pa.array([Side.PERSISTED, Side.UNCHANGED], pa.int8()))
        return pc.if_else(stand, pa.array(stamps, kind).take(named.indices), pa.scalar(NO_STAMP, kind))
