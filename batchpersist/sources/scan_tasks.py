"""Scan tasks: the ranges of sources that one worker scans in one call."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple

from ..models import Failure
from ..storage.fingerprint import FINGERPRINT_BYTES, NO_FINGERPRINT

if TYPE_CHECKING:
    import pyarrow as pa

PLACE_BYTES = 8
IDENTITY_BYTES = PLACE_BYTES + FINGERPRINT_BYTES
NO_IDENTITY = bytes(IDENTITY_BYTES)
"""Of what is never cached: standard input, an object, a folder."""

Document = tuple[int, int, bytes]
"""Line (or row) within the piece, from 1; offset; text. A blank line has an empty text."""


class Format(Enum):
    """How a source is read."""

    JSON = auto()
    """One document, or a list of documents."""
    GZIP_JSON = auto()
    ZSTD_JSON = auto()
    XZ_JSON = auto()
    BZIP2_JSON = auto()
    COPIED_JSON = auto()
    """In the spool."""
    LINES = auto()
    GZIP_LINES = auto()
    ZSTD_LINES = auto()
    XZ_LINES = auto()
    BZIP2_LINES = auto()
    PARQUET = auto()
    ARROW = auto()
    STANDARD_INPUT = auto()
    COPIED_LINES = auto()
    """In the spool."""
    FOLDER = auto()
    """All that is below it, or some files in it."""
    TASK = auto()
    """A task's folder in a root of the orchestrator: its runs, or some of them."""

    __hash__ = object.__hash__
    """Of each member there is one; Enum's own is a call of Python, for each look into a table by format."""

    @property
    def is_json(self) -> bool:
        """The text is one JSON value, to be read whole; else it is lines."""
        return self in _JSON


FOLDERS = {Format.FOLDER, Format.TASK}
"""What is to be walked before it is read."""

_JSON = {
    Format.JSON,
    Format.GZIP_JSON,
    Format.ZSTD_JSON,
    Format.XZ_JSON,
    Format.BZIP2_JSON,
    Format.COPIED_JSON,
}


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
    identity: bytes = NO_IDENTITY
    """A digest of where the file is, under which name, and read how (``PLACE_BYTES``); then its fingerprint.

    The latter is NO_FINGERPRINT where a change could leave it as it is."""
    below: int = 0
    """How many characters of the path, and of the name, lie below the source."""
    parents: tuple[str, ...] = ()
    """Of a folder: the names from the source (excluded) down to it (included)."""
    names: tuple[str, ...] = ()
    """Of a folder: some of its files (of a task's: runs), that nobody has looked at yet; empty: all that is
    in it."""

    @property
    def is_cacheable(self) -> bool:
        return not self.identity.endswith(NO_FINGERPRINT)

    def cut(self, size: int) -> Iterator[Piece]:
        """Ranges of ``size`` bytes that cover it."""
        for start in range(self.start, self.stop, size):
            yield self._replace(start=start, stop=min(start + size, self.stop))


@dataclass(frozen=True)
class Pieces:
    """Some pieces in their order, packed: in a large folder there are thousands of objects in each.

    What is asked of all of them is told without unpacking them.
    """

    identities: bytes
    """One after the other."""
    size: int
    """Bytes of all files."""
    _packed: bytes

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Pieces:
        identities = b"".join([piece.identity for piece in pieces])
        size = sum([piece.stop - piece.start for piece in pieces])
        plain = list(map(tuple, pieces))  # a named tuple takes three times as long to pickle
        return cls(identities, size, pickle.dumps(plain, pickle.HIGHEST_PROTOCOL))

    def __len__(self) -> int:
        return len(self.identities) // IDENTITY_BYTES

    def __iter__(self) -> Iterator[Piece]:
        plain: list[tuple[Any, ...]] = pickle.loads(self._packed)
        return map(Piece._make, plain)


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


class PieceCounts(NamedTuple):
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
    """Of the index (``columns.run_schema``), in source order; None where there are none.

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
    piece_counts: list[PieceCounts] = field(default_factory=list)
    """Of each piece, in order."""

    more: list[Part] = field(default_factory=list)
    """What is left of this one, to be scanned next, in this order."""

    @property
    def runs(self) -> int:
        return 0 if self.rows is None else int(self.rows.num_rows)


@dataclass
class ScanTotals:
    """What a scan came across, apart from the runs themselves."""

    discovered: int = 0
    """Runs found, the invalid ones included."""
    other_events: int = 0
    other_manifests: int = 0
    ignored_files: int = 0
    incomplete: int = 0
    unknown_suffixes: dict[str, int] = field(default_factory=dict)
    """Of ``ignored_files``: how many have which suffix. A few suffixes; the others are counted as one."""
    bytes_read: int = 0
    """Those of sources that were taken from the cache included."""
    other_rejects: int = 0
    """Of ``discovered``: invalid ones that are not wanted."""
    cached_sources: int = 0
    """Files that were not read, but taken from the cache."""
