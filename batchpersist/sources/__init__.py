"""Where completed runs come from: finding the sources, and reading each format (docs/sources.md).

``discover`` finds what there is to read and cuts it into parts. In the process that scans a part,
``unfold`` finds what is in its folders, and ``read_piece`` reads a piece as documents, after
``copy_lines`` has made it one that can be read by position.
"""

from .copying import copy_lines, is_spooled
from .discover import STANDARD_INPUT, discover, is_there, unfold
from .parts import PART_BYTES, Format, Part, Piece, Reject
from .reading import read_piece

__all__ = [
    "PART_BYTES",
    "STANDARD_INPUT",
    "Format",
    "Part",
    "Piece",
    "Reject",
    "copy_lines",
    "discover",
    "is_spooled",
    "is_there",
    "read_piece",
    "unfold",
]
