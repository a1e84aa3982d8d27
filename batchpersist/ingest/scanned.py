"""What the scan of a part brings home: plain data, its rows in columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..sources import Part, Reject

if TYPE_CHECKING:
    import pyarrow as pa


class Tally(NamedTuple):
    """What one piece of a part holds."""

    runs: int
    rejects: int
    other_events: int
    other_manifests: int
    bytes_read: int
    lasting: bool = True
    """Its rows point to what is there after the batch, too."""


@dataclass
class ScannedPart:
    """What a part holds."""

    rows: pa.RecordBatch | None = None
    """Of the index (``columns.index_schema``), in source order; None where there are none.

    ``length`` is the document's: where an event wraps the run, the event's. ``line`` counts from 1, in a
    ranged part from the range's first line."""
    source: str = ""
    """What a person calls the last piece that was read."""
    rejects: list[Reject] = field(default_factory=list)
    line_count: int = 0
    """Lines that start in the range, for the parent to number those of the next."""
    ranged: bool = False
    starts_file: bool = True
    """The range, if it is one, is the first of its file."""
    other_events: int = 0
    other_manifests: int = 0
    ignored_files: int = 0
    incomplete: int = 0
    unknown_suffixes: dict[str, int] = field(default_factory=dict)
    bytes_read: int = 0
    """Of the sources, as stored (compressed, where they are)."""
    tallies: list[Tally] = field(default_factory=list)
    """Of each piece, in order."""

    more: list[Part] = field(default_factory=list)
    """What is left of this one, to be scanned next, in this order."""

    @property
    def runs(self) -> int:
        return 0 if self.rows is None else int(self.rows.num_rows)
