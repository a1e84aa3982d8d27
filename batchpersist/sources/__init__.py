"""Sources: finds what there is to read, and reads each format (docs/sources.md).

``discover`` finds the sources and cuts them into scan tasks. In the process that scans one,
``read_piece`` reads a piece of it as documents. ``SourceFile`` is what the index keeps of a source,
to read a run's bytes again.
"""

from .decompress import standard_input_blocks
from .discovery import STANDARD_INPUT, absolute, discover, is_read_from, is_there, paths_of, unfold
from .formats import OTHER_SUFFIXES
from .location import SourceFile, decoded, encoded_piece, source_names
from .object_store import fetch, is_remote
from .readers import read_piece
from .scan_tasks import (
    FOLDERS,
    PART_BYTES,
    Part,
    Piece,
    PieceCounts,
    Pieces,
    Reject,
    ScannedPart,
    ScanTotals,
    range_part,
)
from .staging import Copy, copy_lines, ensure_copy, is_copy, is_spooled, place
from .tables import refusal

__all__ = [
    "ScanTotals",
    "Copy",
    "FOLDERS",
    "OTHER_SUFFIXES",
    "PART_BYTES",
    "Part",
    "Piece",
    "PieceCounts",
    "Pieces",
    "Reject",
    "STANDARD_INPUT",
    "ScannedPart",
    "SourceFile",
    "absolute",
    "copy_lines",
    "decoded",
    "discover",
    "encoded_piece",
    "ensure_copy",
    "fetch",
    "is_copy",
    "is_read_from",
    "is_remote",
    "is_spooled",
    "is_there",
    "paths_of",
    "place",
    "range_part",
    "read_piece",
    "refusal",
    "source_names",
    "standard_input_blocks",
    "unfold",
]
