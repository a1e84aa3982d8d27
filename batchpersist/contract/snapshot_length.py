"""How long a snapshot may become: the orchestrator reads it into one string of Node.js.

A longer one (``ERR_STRING_TOO_LONG``) would end the recording of its task for good. JavaScript counts
UTF-16 units, of which a text in UTF-8 never has more than bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..errors import SnapshotError
from ..options import NODE_LIMIT

_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
_PAIR_LEADS = [bytes([lead]) for lead in range(0xF0, 0xF5)]
"""What a character of four bytes begins with, which is a pair of surrogates in UTF-16."""


class SnapshotTooLongError(SnapshotError):
    """The snapshot would be longer than is allowed; the file is left as it is."""

    def __init__(self, limit: int, path: str) -> None:
        reason = ", all that Node.js can read" if limit == NODE_LIMIT else ""
        super().__init__(
            f"the snapshot would exceed {limit:,} UTF-16 units{reason}; it is left as it is, manifests are "
            "written: archive older runs of the task, or allow more (--max-snapshot-size)",
            path,
        )
        self.args = (limit, path)  # for pickling


def utf16_units(block: bytes) -> int:
    """How many units JavaScript counts for a block of UTF-8 text, wherever it was cut out."""
    if block.isascii():
        return len(block)
    return len(block.translate(None, _CONTINUATION_BYTES)) + sum(map(block.count, _PAIR_LEADS))


def limited(
    chunks: Iterable[bytes], limit: int | None, path: str, *, measure: Callable[[bytes], int] = utf16_units
) -> Iterator[bytes]:
    """The chunks of a snapshot's text, as they come; SnapshotTooLongError where they become too long.

    ``measure``: of a chunk; ``len`` is quicker, and an upper bound. ``path``: of the snapshot.
    """
    length = 0
    for chunk in chunks:
        length += measure(chunk)
        if limit is not None and length > limit:
            raise SnapshotTooLongError(limit, path)
        yield chunk
