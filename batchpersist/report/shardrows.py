"""The shards of a batch, from its table, or from its journal while the batch has not come to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..figures.outcomes import ShardRow
from ..settling.journal import ShardEntry, read_journal

if TYPE_CHECKING:
    import pyarrow as pa


class Journaled(NamedTuple):
    """How far a batch came that has not told its end."""

    shards: list[ShardRow]
    unchanged: int
    failed: int

    @property
    def settled(self) -> int:
        """Runs whose manifest's side has settled."""
        return sum(shard.runs for shard in self.shards if shard.work != "snapshot")


def rows_of(table: pa.Table) -> list[ShardRow]:
    """The rows of ``shards.parquet``."""
    columns = [table[name].to_pylist() for name in ShardRow._fields]
    return [ShardRow(*values) for values in zip(*columns, strict=True)]


def journaled(path: str) -> Journaled:
    """What a batch's journal tells; nothing where there is none yet. Raises OSError."""
    shards: list[ShardRow] = []
    unchanged = failed = 0
    try:
        for entry in read_journal(path):
            if isinstance(entry, ShardEntry):
                place = (entry.number, entry.work.value, entry.pid, entry.started, entry.finished)
                shards.append(ShardRow(*place, entry.runs))
                unchanged += entry.unchanged
                failed += entry.failed
    except FileNotFoundError:
        pass
    return Journaled(shards, unchanged, failed)
