"""Reading the tables of a batch's folder, the long one in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

PIECE_ROWS = 131_072
"""Rows that are looked at together."""


def read_table(path: str) -> pa.Table:
    """A Parquet file, whole. Raises UsageError where it is none, OSError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open(path, "rb") as file:  # by Arrow's own means only where the name is UTF-8
            return pq.read_table(file)
    except pa.ArrowInvalid as error:
        raise UsageError(f"not a Parquet file: {path}: {error}") from None


def pieces(path: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """These columns of an outcome table in pieces that fit any memory.

    Raises UsageError where the file is none, OSError.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open(path, "rb") as file, pq.ParquetFile(file) as table:
            missing = set(columns) - set(table.schema_arrow.names)
            if missing:
                raise UsageError(f"not an outcome table, for it has no {', '.join(sorted(missing))}: {path}")
            for batch in table.iter_batches(PIECE_ROWS, columns=list(columns)):
                yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        raise UsageError(f"not a Parquet file: {path}: {error}") from None
