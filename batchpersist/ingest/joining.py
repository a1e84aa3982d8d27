"""Bringing the pieces of an index's columns together, in little more memory than they take themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..columns import whole

if TYPE_CHECKING:
    import pyarrow as pa


def in_one_piece(columns: dict[str, pa.ChunkedArray]) -> pa.Table:
    """A table of the columns, each with one chunk and one dictionary; they are let go of one by one."""
    import pyarrow as pa

    def joined(name: str) -> pa.Array:
        column = columns.pop(name)
        return _stacked(column) if name == "file" else whole(column.unify_dictionaries())

    return pa.table({name: joined(name) for name in list(columns)})


def _stacked(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece, with the chunks' dictionaries one after the other.

    What chunks have in common is told from the chunk before alone (ranges of one file): at a million files
    a look for all of it would take more memory than it saves.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not column.num_chunks:
        return whole(column)
    dictionaries = [column.chunk(0).dictionary]
    indices, before = [], 0
    for chunk in column.chunks:
        if not chunk.dictionary.equals(dictionaries[-1]):
            before += len(dictionaries[-1])
            dictionaries.append(chunk.dictionary)
        indices.append(pc.add(chunk.indices, pa.scalar(before, pa.int32())))
    del column
    return pa.DictionaryArray.from_arrays(pa.concat_arrays(indices), pa.concat_arrays(dictionaries))
