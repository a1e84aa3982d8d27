"""Copying sources that cannot be read by position into the spool, as lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..errors import ItemError, failure_of
from ..models import Failure, Keys
from . import streams, tables
from .parts import Format, Piece
from .spool import Spool

_STREAMS = {
    Format.GZIP_LINES: streams.gzip_blocks,
    Format.ZSTD_LINES: streams.zstd_blocks,
    Format.STANDARD_INPUT: streams.standard_input_blocks,
}
_TABLES = {Format.PARQUET: tables.parquet_batches, Format.ARROW: tables.arrow_batches}
_BY_POSITION = (Format.JSON, Format.LINES, Format.COPIED_LINES, Format.FOLDER)


class Copy(NamedTuple):
    """What has become of a piece."""

    lines: Piece
    """All that could be copied."""
    failure: Failure | None
    """Why the rest could not."""


def is_spooled(piece: Piece) -> bool:
    """The piece's own file cannot be read by position, so that its documents are copied."""
    return piece.format not in _BY_POSITION


def copy_lines(piece: Piece, keys: Keys, spool_dir: str) -> Copy:
    """Copy a piece's documents into a file of its own; never raises for what the piece holds.

    A line that a failure cuts short is not among the lines.
    """
    path, whole, failure = piece.path, 0, None
    try:
        with Spool(spool_dir) as spool:
            path = spool.path
            for block in _blocks(piece, keys):
                start = spool.size
                spool.add(block)
                if b"\n" in block:
                    whole = start + block.rindex(b"\n") + 1
            whole = spool.size
    except (OSError, ItemError) as error:
        failure = failure_of(error)
    return Copy(Piece(Format.COPIED_LINES, path, piece.name, 0, whole), failure)


def _blocks(piece: Piece, keys: Keys) -> Iterator[bytes]:
    if piece.format in _TABLES:
        return tables.line_blocks(_TABLES[piece.format](piece.path), keys)
    return _STREAMS[piece.format](piece.path)
