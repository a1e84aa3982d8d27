"""What the sources are cut into: plain data, small enough to be sent to a worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from ..models import Failure
from ..stamps import NO_STAMP

Document = tuple[int, int, bytes]
"""Line (or row) within the piece, from 1; offset; text. A blank line has an empty text."""


PART_BYTES = 8 << 20
"""Some 3,000 runs: long enough to outweigh the hand-over to a worker, short enough to balance."""


RUN_BYTES = 2500
"""Of a usual run."""


class Format(Enum):
    """How a source is read."""

    JSON = auto()
    """One document, or a list of documents."""
    LINES = auto()
    GZIP_LINES = auto()
    ZSTD_LINES = auto()
    PARQUET = auto()
    ARROW = auto()
    STANDARD_INPUT = auto()
    COPIED_LINES = auto()
    """In the spool."""
    FOLDER = auto()
    """All that is below it."""


SUFFIXES = {
    ".json": Format.JSON,
    ".jsonl": Format.LINES,
    ".ndjson": Format.LINES,
    ".jsonl.gz": Format.GZIP_LINES,
    ".ndjson.gz": Format.GZIP_LINES,
    ".jsonl.zst": Format.ZSTD_LINES,
    ".ndjson.zst": Format.ZSTD_LINES,
    ".parquet": Format.PARQUET,
    ".arrow": Format.ARROW,
    ".feather": Format.ARROW,
}


def format_of(name: str) -> Format | None:
    """The format that a file's name tells, in any case of letters; None: not readable."""
    name = name.lower()
    last = name.rfind(".")
    kind = SUFFIXES.get(name[last:])
    return kind if kind is not None else SUFFIXES.get(name[name.rfind(".", 0, last) :])


class Piece(NamedTuple):
    """A file, or a range of its bytes: the lines that start in it."""

    format: Format
    path: str
    """Absolute."""
    name: str
    """What a person calls it."""
    start: int
    stop: int
    """The file's size, where it is read whole; 0 for standard input."""
    doubtful: bool = False
    """May be a manifest of another schema: passed over where it lacks a run's keys."""
    identity: bytes = NO_STAMP
    """A digest of the file as it was found: where, under which name, read how, and in which state.

    NO_STAMP where a change could leave it as it is (``stamps.lasting_stamp``)."""
    below: int = 0
    """How many characters of the path, and of the name, lie below the source."""
    parents: tuple[str, ...] = ()
    """Of a folder: the names from the source (excluded) down to it (included)."""
    after: str = ""
    """Of a folder: the entry (of those sorted by name) after which it begins."""

    def cut(self, size: int) -> Iterator[Piece]:
        """Ranges of ``size`` bytes that cover it."""
        for start in range(self.start, self.stop, size):
            yield self._replace(start=start, stop=min(start + size, self.stop))


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
    pieces: tuple[Piece, ...]
    ranged: bool = False
    """Its only piece is a range of a file: lines count from the range's own first line."""
    local: bool = False
    """Can be read by the process that discovered it alone."""
    other_manifests: int = 0
    """Passed over on the way."""
    ignored_files: int = 0
    """Of no readable suffix, or not a file at all."""
    rejects: tuple[Reject, ...] = ()
    """Folders that could not be listed, and files that cannot even be named."""

    @property
    def likely_runs(self) -> int:
        """How much work it is, about."""
        return sum(piece.stop - piece.start for piece in self.pieces) // RUN_BYTES
