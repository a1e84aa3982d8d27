"""Snapshots that are valid JSON in another form than the canonical one: read whole, and laid out anew."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import InvalidRunError, SnapshotError
from ..files.blocks import Readable, read_blocks
from ..runs.jsontext import TOO_DEEP, canonical, shallow, string
from .snapshottext import ENTRY_LEVELS, further_members, members


class NotASnapshotError(SnapshotError):
    """Not this task's snapshot at all, to the orchestrator as well: it does not parse, is another task's, or
    has no list of runs."""


class NotAFileError(NotASnapshotError):
    """A folder or a pipe, say, stands in its place."""


class OtherTaskError(NotASnapshotError):
    """A snapshot, but another task's."""


class OtherForm(NamedTuple):
    """What a snapshot holds, as canonical text nested as deep as it is there."""

    runs: bytes
    further: bytes
    """The members that are not ours to know, as ``further_members`` words them."""
    last_run_at: bytes
    """Empty where there is none."""


def read_other(source: Readable, task_id: str) -> OtherForm:
    """Read a snapshot in whatever layout.

    The only case in which a history lies in memory, several times over. Raises NotASnapshotError;
    where the file is torn (NULs in it, or its end is missing) without holding it in memory; SnapshotError
    where the orchestrator may read a snapshot of the task though it cannot be read here.
    """
    _refuse_torn(source)
    data = b"".join(read_blocks(source))
    try:
        text = canonical(data, around=ENTRY_LEVELS)
    except InvalidRunError as error:
        kind = SnapshotError if _may_be_snapshot(data, task_id) else NotASnapshotError
        if error.message == TOO_DEEP:
            raise kind("the snapshot is nested too deep", f"a run in it is {TOO_DEEP}") from error
        raise kind("the snapshot does not parse", str(error)) from error
    if not text.startswith(b"{"):
        raise NotASnapshotError("the snapshot is not an object")
    found = members(text)
    if found.get(b'"taskId"') != string(task_id):
        belongs_to = found.get(b'"taskId"', b"none").decode()
        raise OtherTaskError("the snapshot's taskId is not the task's", belongs_to)
    runs = found.get(b'"runs"', b"")
    if not runs.startswith(b"["):
        raise NotASnapshotError("the snapshot's runs are not a list")
    return OtherForm(runs, further_members(found), found.get(b'"lastRunAt"', b""))


def _may_be_snapshot(data: bytes, task_id: str) -> bool:
    """Whether the orchestrator may read the task's snapshot from text that is not valid here.

    It reads any depth, and takes bytes that are no UTF-8 for U+FFFD.
    """
    text = data.decode(errors="replace").encode()
    try:
        found = members(canonical(shallow(text)))
        canonical(text, around=ENTRY_LEVELS)
    except InvalidRunError as error:
        if error.message != TOO_DEEP:
            return False
    return found.get(b'"taskId"') == string(task_id) and found.get(b'"runs"', b"").startswith(b"[")


def _refuse_torn(source: Readable) -> None:
    offset, last = 0, b""
    for block in read_blocks(source):
        if b"\0" in block:
            reason = f"NUL byte: byte {offset + block.index(0)}"
            raise NotASnapshotError("the snapshot does not parse", reason)
        offset += len(block)
        last = block.rstrip() or last
    if source.read(1, 0) == b"{" and not last.endswith(b"}"):
        raise NotASnapshotError("the snapshot does not parse", f"incomplete JSON: ends at byte {offset}")
