"""How much room the copies take that some runs are read from, where these have yet to be made."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..sources import decoded, is_spooled, place

if TYPE_CHECKING:
    import pyarrow as pa


def missing_copies(rows: pa.Table, spool_dir: str, numbers: Iterable[int]) -> int:
    """Bytes, as far as those runs of a plan tell that are to be read (``numbers`` of its ``rows``)."""
    picked = rows.select(["origin", "file", "offset", "length"]).take(list(numbers))
    ends: dict[str, int] = {}
    for origin, below, offset, length in zip(*(column.to_pylist() for column in picked.columns), strict=True):
        file = decoded(origin, below)
        if is_spooled(file.format):
            path = place(file.path, file.format, spool_dir)
            ends[path] = max(ends.get(path, 0), offset + length)
    return sum(end for path, end in ends.items() if not os.path.exists(path))
