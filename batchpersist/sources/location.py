"""Where a run's bytes are, as the index keeps it: ``origin`` and ``file``.

The origin is a source as it was named: how it is read, its path, its name. The file is what lies below it,
empty where the source is no folder (an object on a storage always is an origin of its own). At a million
files it matters that of each its own part alone is held, once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..arrow_tables import whole
from ..foreign_text import encodable
from .scan_tasks import Format, Piece

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 1 << 15
"""Whose names are made at once."""


class SourceFile(NamedTuple):
    """A file that the rows of an index point into."""

    path: str
    name: str
    """What a person calls it."""
    format: Format
    """Of one that cannot be read by position (``copying.is_spooled``), rows point into its copy."""

    def encoded(self, below: int = 0) -> tuple[bytes, str]:
        """The values of the two columns; ``below``: how many characters of the path lie below the source."""
        rest = self.path[len(self.path) - below :]
        if encodable(rest) != rest:  # its name is spelt otherwise
            below, rest = 0, ""
        path, name = self.path[: len(self.path) - below], self.name[: len(self.name) - below]
        return b"\0".join((self.format.name.encode(), os.fsencode(path), encodable(name).encode())), rest


def encoded_piece(piece: Piece) -> tuple[bytes, str]:
    """The file that a piece is of, or is the copy of."""
    return SourceFile(piece.path, piece.name, piece.format).encoded(piece.below)


def decoded(origin: bytes, file: str) -> SourceFile:
    """The file of which these are the columns' values; of its name what can be shown."""
    format, path, name = origin.split(b"\0", 2)  # a name may hold some more
    return SourceFile(os.fsdecode(path) + file, name.decode() + file, Format[format.decode()])


def source_names(rows: pa.Table) -> pa.ChunkedArray:
    """What a person calls the file of each row: repeated strings, dictionary-encoded in each chunk."""
    import pyarrow as pa

    kind = pa.dictionary(pa.int32(), pa.string())
    return pa.chunked_array(list(_names(whole(rows["origin"]), whole(rows["file"]))), kind)


def _names(origins: pa.DictionaryArray, files: pa.DictionaryArray) -> Iterator[pa.Array]:
    import pyarrow as pa
    import pyarrow.compute as pc

    heads = pa.array([decoded(origin, "").name for origin in origins.dictionary.to_pylist()], pa.string())
    for start in range(0, len(origins), _ROWS):
        stretch = (heads.take(origins.indices.slice(start, _ROWS)), files.slice(start, _ROWS).cast("string"))
        yield pc.binary_join_element_wise(*stretch, "").dictionary_encode()
