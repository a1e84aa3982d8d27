"""A source: a file, folder, object or stream that is read; and what the index keeps of it.

The index has two columns to find a run's bytes again: ``origin`` is a source as it was named (how it is read,
its path, its name), ``file`` is the path below it, empty unless the source is a folder. At a million files
this keeps the part that they share once.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from ..arrow_tables import as_array
from ..foreign_text import encodable
from ..storage.fingerprint import FINGERPRINT_BYTES, NO_FINGERPRINT
from .formats import Format

if TYPE_CHECKING:
    import pyarrow as pa

PLACE_BYTES = 8
IDENTITY_BYTES = PLACE_BYTES + FINGERPRINT_BYTES
NO_IDENTITY = bytes(IDENTITY_BYTES)
"""Of what is never cached: standard input, an object, a folder."""

_ROWS = 1 << 15
"""Rows whose source names are made in one step."""


class Source(NamedTuple):
    """A file, folder, object or stream to read, or a range of a file's bytes: the lines that start in it."""

    format: Format
    path: str
    """Absolute."""
    name: str
    """As a person knows it."""
    start: int
    stop: int
    """The file's size, unless this is a range; 0 for standard input and folders."""
    is_doubtful: bool = False
    """May be a manifest of another schema, which is skipped if it lacks a run's keys."""
    identity: bytes = NO_IDENTITY
    """A digest of the file's path, its name and how it is read (``PLACE_BYTES``); then its fingerprint.

    The latter is NO_FINGERPRINT if a change could leave it as it is."""
    below: int = 0
    """How many characters of the path, and of the name, lie below the source that was named."""
    parents: tuple[str, ...] = ()
    """Of a folder: the names from the source that was named (excluded) down to it (included)."""
    names: tuple[str, ...] = ()
    """Of a folder: which of its files (of a task's folder: runs) are to be examined. Empty: all of them."""

    @property
    def is_cacheable(self) -> bool:
        return not self.identity.endswith(NO_FINGERPRINT)

    @property
    def file(self) -> SourceFile:
        return SourceFile(self.path, self.name, self.format)

    def cut(self, size: int) -> Iterator[Source]:
        """Ranges of ``size`` bytes that cover it."""
        for start in range(self.start, self.stop, size):
            yield self._replace(start=start, stop=min(start + size, self.stop))


@dataclass(frozen=True)
class PackedSources:
    """Sources in their order, pickled: a scan task of a large folder has thousands of them.

    What concerns all of them is known without unpacking them.
    """

    identities: bytes
    """One after the other."""
    size: int
    """Bytes of all files."""
    _packed: bytes

    @classmethod
    def of(cls, sources: Sequence[Source]) -> PackedSources:
        identities = b"".join([source.identity for source in sources])
        size = sum([source.stop - source.start for source in sources])
        plain = list(map(tuple, sources))  # a named tuple takes three times as long to pickle
        return cls(identities, size, pickle.dumps(plain, pickle.HIGHEST_PROTOCOL))

    def __len__(self) -> int:
        return len(self.identities) // IDENTITY_BYTES

    def __iter__(self) -> Iterator[Source]:
        plain: list[tuple[Any, ...]] = pickle.loads(self._packed)
        return map(Source._make, plain)


class SourceFile(NamedTuple):
    """A file that rows of an index point into."""

    path: str
    name: str
    """As a person knows it."""
    format: Format
    """If the file cannot be read by position (``Format.is_spooled``), rows point into its copy."""

    def encode(self, below: int = 0) -> tuple[bytes, str]:
        """The values of ``origin`` and ``file``; ``below``: as in ``Source``."""
        file = self.path[len(self.path) - below :]
        if encodable(file) != file:  # the name is spelled differently
            below, file = 0, ""
        path, name = self.path[: len(self.path) - below], self.name[: len(self.name) - below]
        return b"\0".join((self.format.name.encode(), os.fsencode(path), encodable(name).encode())), file

    @classmethod
    def decode(cls, origin: bytes, file: str) -> SourceFile:
        """The file of a row with these values. Its name holds what can be shown of the original."""
        format, path, name = origin.split(b"\0", 2)  # the name itself may hold further zeros
        return cls(os.fsdecode(path) + file, name.decode() + file, Format[format.decode()])

    def data_path(self, spool_dir: str) -> str:
        """The file to read by position: this one, or its copy in the spool, whether or not it exists."""
        if not self.format.is_spooled:
            return self.path
        digest = blake2b(os.fsencode(self.path), digest_size=16).hexdigest()
        return os.path.join(spool_dir, f"copy-{digest}")


def source_names(rows: pa.Table) -> pa.ChunkedArray:
    """The name of each row's file, as a person knows it; each chunk is dictionary-encoded."""
    import pyarrow as pa

    kind = pa.dictionary(pa.int32(), pa.string())
    return pa.chunked_array(list(_join_names(as_array(rows["origin"]), as_array(rows["file"]))), kind)


def _join_names(origins: pa.DictionaryArray, files: pa.DictionaryArray) -> Iterator[pa.Array]:
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [SourceFile.decode(origin, "").name for origin in origins.dictionary.to_pylist()]
    heads = pa.array(names, pa.string())
    for start in range(0, len(origins), _ROWS):
        columns = (heads.take(origins.indices.slice(start, _ROWS)), files.slice(start, _ROWS).cast("string"))
        yield pc.binary_join_element_wise(*columns, "").dictionary_encode()
