"""Where completed runs come from: finding the sources, and reading each format (docs/sources.md).

``discover`` finds what there is to read and cuts it into parts, ``read_piece`` reads a piece of
a part as documents, in the process that scans it.
"""

from .discover import discover
from .parts import Part, Piece, Reject
from .reading import is_spooled, read_piece
from .spool import Spool

__all__ = ["Part", "Piece", "Reject", "Spool", "discover", "is_spooled", "read_piece"]
