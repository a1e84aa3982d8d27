"""Reading one piece of a part, whatever its format, as documents."""

from __future__ import annotations

from collections.abc import Iterator

from . import jsonfile, ndjson
from .parts import Document, Format, Piece


def read_piece(piece: Piece) -> Iterator[Document]:
    """The documents of a piece that can be read by position (or of the lines it was copied to).

    Raises OSError or ItemError where the piece, or the rest of it, cannot be read.
    """
    if piece.format is Format.JSON:
        return jsonfile.documents(piece.path)
    if piece.format is Format.COPIED_LINES and not piece.stop:
        return iter(())  # nothing was copied: perhaps there is no file
    return ndjson.documents(piece.path, piece.start, piece.stop)
