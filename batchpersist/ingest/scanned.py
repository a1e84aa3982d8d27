"""What the scan of a part brings home: plain data, in columns."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

from ..sources import Part, Reject


def _integers() -> array[int]:
    return array("q")


class Tally(NamedTuple):
    """What one piece of a part holds."""

    runs: int
    rejects: int
    other_events: int
    other_manifests: int


@dataclass
class ScannedPart:
    """What a part holds. The columns have one item a run, in source order."""

    task_ids: list[str] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)
    timestamps: list[str] = field(default_factory=list)
    files: array[int] = field(default_factory=_integers)
    """Index into ``paths`` and ``names``."""
    offsets: array[int] = field(default_factory=_integers)
    lengths: array[int] = field(default_factory=_integers)
    """Of the document: where an event wraps the run, of the event."""
    lines: array[int] = field(default_factory=_integers)
    """1-based line or row; of a ranged part counted from the range's first line."""
    paths: list[str] = field(default_factory=list)
    """Files that hold the bytes, to be read by position: the source, or the spool."""
    names: list[str] = field(default_factory=list)
    """What a person calls each source."""
    rejects: list[Reject] = field(default_factory=list)
    line_count: int = 0
    """Lines that start in the range, for the parent to number those of the next."""
    ranged: bool = False
    starts_file: bool = True
    """The range, if it is one, is the first of its file."""
    other_events: int = 0
    other_manifests: int = 0
    ignored_files: int = 0
    bytes_read: int = 0
    """Of the sources, as stored (compressed, where they are)."""
    tallies: list[Tally] = field(default_factory=list)
    """Of each piece, in order."""

    more: list[Part] = field(default_factory=list)
    """What is left of the part, to be scanned next, in this order. Its first pieces were scanned."""

    def tally(self) -> Tally:
        return Tally(len(self.run_ids), len(self.rejects), self.other_events, self.other_manifests)
