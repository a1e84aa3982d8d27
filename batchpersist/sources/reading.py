"""Reading one piece of a part, whatever its format, as documents."""

from __future__ import annotations

from collections.abc import Iterator

from ..models import Keys
from . import jsonfile, ndjson, streams, tables
from .parts import Document, Format, Piece
from .spool import Spool

_STREAMS = {
    Format.GZIP_LINES: streams.gzip_blocks,
    Format.ZSTD_LINES: streams.zstd_blocks,
    Format.STANDARD_INPUT: streams.standard_input_blocks,
}
_TABLES = {Format.PARQUET: tables.parquet_batches, Format.ARROW: tables.arrow_batches}


def read_piece(piece: Piece, keys: Keys, spool: Spool) -> Iterator[Document]:
    """The piece's documents; their offsets are in the spool where ``is_spooled``.

    Raises OSError or ItemError where the piece, or the rest of it, cannot be read.
    """
    if piece.format is Format.JSON:
        return jsonfile.documents(piece.path)
    if piece.format is Format.LINES:
        return ndjson.range_documents(piece.path, piece.start, piece.stop)
    if piece.format in _TABLES:
        return tables.documents(_TABLES[piece.format](piece.path), keys, spool)
    return ndjson.documents(spool.pass_on(_STREAMS[piece.format](piece.path)), first=spool.size)


def is_spooled(piece: Piece) -> bool:
    """The piece's own file cannot be read by position, so that its documents are copied."""
    return piece.format in _STREAMS or piece.format in _TABLES
