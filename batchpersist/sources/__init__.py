"""Where completed runs come from: finding the sources, and reading each format (docs/sources.md).

``discover`` finds what there is to read and cuts it into parts. In the process that scans a part,
``unfold`` finds what is in its folders, and ``read_piece`` reads a piece as documents, after
``fetch`` has brought it from its object storage, and ``copy_lines`` has made a copy that can be read by
position, where the file itself cannot. ``SourceFile`` is what an index keeps of it, to read it again.
"""

from .copying import Copy, copy_lines, ensure_copy, is_copy, is_spooled, place
from .discover import STANDARD_INPUT, absolute, discover, is_read_from, is_there, unfold
from .filenames import OTHER_SUFFIXES
from .objects import fetch, is_remote
from .parts import PART_BYTES, Part, Reject, range_part
from .pieces import FOLDERS, Format, Piece, Pieces
from .reading import read_piece
from .rows import refusal
from .sourcefile import SourceFile, decoded, encoded_piece, source_names

__all__ = [
    "FOLDERS",
    "OTHER_SUFFIXES",
    "PART_BYTES",
    "STANDARD_INPUT",
    "Copy",
    "Format",
    "Part",
    "Piece",
    "Pieces",
    "Reject",
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
    "place",
    "range_part",
    "read_piece",
    "refusal",
    "source_names",
    "unfold",
]
