"""The text of a task snapshot around its entries, and how long it may become (docs/formats.md).

The orchestrator reads a snapshot into one string of Node.js. One that is too long for that
(``ERR_STRING_TOO_LONG``) would end the recording of its task for good. JavaScript counts UTF-16 units, of
which a text in UTF-8 never has more than bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..errors import SnapshotError
from ..options import NODE_LIMIT
from .json_text import string

LIST_START = b'\n  "runs": [\n    '
"""Between the members before the list of entries and its first entry."""

RUNS_END = b"\n  ]"

SEPARATOR = b",\n    "
"""Between two entries."""

ENTRY_LEVELS = 2
"""How deep the entries are nested in the document."""

KNOWN = (b'"taskId"', b'"lastRunAt"', b'"runs"')
"""The names, as JSON text, of the members that batchpersist writes itself."""

_MEMBER = re.compile(rb'^  ("(?:[^"\\]|\\.)*"): ', re.MULTILINE)


def head_of(task_id: str) -> bytes:
    """What every snapshot of the task begins with."""
    return b'{\n  "taskId": %b,\n  "lastRunAt": ' % string(task_id)


def head(task_id: str, last_run_at: str) -> bytes:
    """Everything before the first entry."""
    return b"%b%b,%b" % (head_of(task_id), string(last_run_at), LIST_START)


def tail(further: bytes) -> bytes:
    """Everything after the last entry; ``further`` as ``further_members`` returns it."""
    return RUNS_END + further + b"\n}"


def members(text: bytes) -> dict[bytes, bytes]:
    """Names and values of the members of a canonical object, both as the text they have there.

    Canonical text has no line break inside a string, so a line that is indented by two spaces
    begins a member. Of members with the same name the last one counts, as in JavaScript.
    """
    marks = list(_MEMBER.finditer(text))
    ends = [mark.start() - len(b",\n") for mark in marks[1:]] + [len(text) - len(b"\n}")]
    return {mark[1]: text[mark.end() : end] for mark, end in zip(marks, ends, strict=False)}


def further_members(found: dict[bytes, bytes]) -> bytes:
    """The text of the members that batchpersist does not know: it keeps them behind the known ones."""
    return b"".join(b",\n  %b: %b" % member for member in found.items() if member[0] not in KNOWN)


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
    chunks: Iterable[bytes], limit: int | None, path: str, *, in_bytes: bool = False
) -> Iterator[bytes]:
    """The chunks of a snapshot's text, as they come; SnapshotTooLongError where they become too long.

    ``in_bytes``: count these, which is quicker, and an upper bound. ``path``: of the snapshot.
    """
    measure = len if in_bytes else utf16_units
    length = 0
    for chunk in chunks:
        length += measure(chunk)
        if limit is not None and length > limit:
            raise SnapshotTooLongError(limit, path)
        yield chunk
