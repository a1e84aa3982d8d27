"""What the sources are cut into: plain data, small enough to be sent to a worker."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple

from ..files.fingerprint import FINGERPRINT_BYTES, NO_FINGERPRINT

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
