"""The text of a task snapshot around its entries (docs/formats.md)."""

from __future__ import annotations

import re

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
    """Everything after the last entry; ``further`` as ``further_members`` words it."""
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
    """The text of the members that batchpersist does not know, which are kept behind the known ones."""
    return b"".join(b",\n  %b: %b" % member for member in found.items() if member[0] not in KNOWN)
