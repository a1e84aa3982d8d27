"""Reading one piece of a part, whatever its format, as documents."""

from __future__ import annotations

from collections.abc import Iterator

from . import jsonfile, ndjson
from .copying import is_copy, place
from .pieces import Document, Piece


def read_piece(piece: Piece, spool_dir: str) -> Iterator[Document]:
    """The documents of a piece; of one whose file has a copy in the spool, ``start:stop`` are bytes of that.

    Raises OSError or ItemError where the piece, or the rest of it, cannot be read.
    """
    path = place(piece.path, piece.format, spool_dir)
    if not piece.stop and (path != piece.path or is_copy(piece.format)):
        return iter(())  # nothing was copied: perhaps there is no file
    if piece.format.is_json:
        return jsonfile.documents(path, piece.stop)
    return ndjson.documents(path, piece.start, piece.stop)
