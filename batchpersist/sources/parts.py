"""Parts: what of the sources one worker scans at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..models import Failure
from .pieces import Piece, Pieces

PART_BYTES = 8 << 20
"""Some 3,000 runs: long enough to outweigh the hand-over to a worker, short enough to balance."""

RUN_BYTES = 2500
"""Of a usual run."""


class Reject(NamedTuple):
    """One input that is not a completed run, or a source that could not be read (to its end)."""

    source: str
    line: int
    """The line (or row) reached; 0 where nothing could be read."""
    failure: Failure


@dataclass(frozen=True)
class Part:
    """Some of the sources, in their order, for one worker to scan."""

    number: int
    """In source order, from 0; that of the part that it is left of."""
    pieces: Pieces
    ranged: bool = False
    """Its only piece is a range of a file: lines count from the range's own first line."""
    starts_file: bool = True
    """The range, if it is one, is the first of its file."""
    local: bool = False
    """Can be read by the process that discovered it alone."""
    other_manifests: int = 0
    """Passed over on the way."""
    ignored_files: int = 0
    """Of no readable suffix, or not a file at all."""
    incomplete: int = 0
    """Run folders of the orchestrator without a summary."""
    unknown_suffixes: dict[str, int] = field(default_factory=dict)
    """Of ``ignored_files``: how many have which suffix."""
    rejects: tuple[Reject, ...] = ()
    """Folders that could not be listed, and files that cannot even be named."""

    @property
    def likely_runs(self) -> int:
        """How much work it is, about."""
        return self.pieces.size // RUN_BYTES


def range_part(number: int, piece: Piece, rejects: tuple[Reject, ...] = ()) -> Part:
    """The part that a range of a file is."""
    return Part(number, Pieces.of([piece]), ranged=True, starts_file=not piece.start, rejects=rejects)
