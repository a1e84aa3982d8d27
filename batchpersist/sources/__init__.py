"""Where completed runs come from: finding the sources, and reading each format (docs/sources.md).

``discover`` finds what there is to read and cuts it into parts. In the process that scans a part,
``unfold`` finds what is in its folders, and ``read_piece`` reads a piece as documents, after
``fetch`` has brought it from its object storage, and ``copy_lines`` has made it one that can be read by
position.
"""

from .copying import copy_lines, is_spooled
from .discover import STANDARD_INPUT, absolute, discover, is_there, unfold
from .objects import fetch, is_remote
from .parts import PART_BYTES, Format, Part, Piece, Reject
from .reading import read_piece

__all__ = [
    "PART_BYTES",
    "STANDARD_INPUT",
    "Format",
    "Part",
    "Piece",
    "Reject",
    "absolute",
    "copy_lines",
    "discover",
    "fetch",
    "is_remote",
    "is_spooled",
    "is_there",
    "read_piece",
    "unfold",
]
