"""Reading the tables of a batch's folder, the long one in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..columns import read_parquet
from ..errors import UsageError, unreadable_as

if TYPE_CHECKING:
    import pyarrow as pa

PIECE_ROWS = 131_072
"""Rows that are looked at together."""


def read_table(path: str) -> pa.Table:
    """A Parquet file, whole. Raises UsageError where it is none, OSError."""
    with unreadable_as(partial(_not_parquet, path)):
        return read_parquet(path)


def pieces(path: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """These columns of an outcome table in pieces that fit any memory.

    Raises UsageError where the file is none, OSError.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (
        unreadable_as(partial(_not_parquet, path)),
        open(path, "rb") as file,
        pq.ParquetFile(file, pre_buffer=False) as table,
    ):
        missing = set(columns) - set(table.schema_arrow.names)
        if missing:
            raise UsageError(f"not an outcome table, for it has no {', '.join(sorted(missing))}: {path}")
        for batch in table.iter_batches(PIECE_ROWS, columns=list(columns), use_threads=False):
            yield pa.Table.from_batches([batch])


def _not_parquet(path: str, reason: str) -> UsageError:
    return UsageError(f"not a Parquet file: {path}: {reason}")
