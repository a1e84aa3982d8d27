"""The proof: one digest of all that a batch wrote, and what differs where two digests do."""

from __future__ import annotations

import os
import re
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from hashlib import blake2b
from itertools import islice, zip_longest
from typing import Any, BinaryIO

from ..columns import utf8
from ..layout import OWN_FOLDER

_BLOCK = 1 << 20
_LINES = 12
"""From the first line that differs on."""
_WIDTH = 200
"""Bytes of a line that are shown."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]").sub


@dataclass(frozen=True)
class Entry:
    """A file, a folder or anything else below a root."""

    name: str
    """Relative to the root."""
    path: str
    mode: int
    """As lstat(2) gives it: the kind and the permission bits."""


@dataclass(frozen=True)
class Difference:
    """One thing that stands otherwise in another tree."""

    path: str
    kind: str
    """``missing``, ``extra``, ``content`` or ``mode``."""
    diff: list[str]
    """In the form of a unified diff; empty for what is missing or extra."""

    def as_dict(self, **place: Any) -> dict[str, Any]:
        return {"path": utf8(self.path), "kind": self.kind, **place, "diff": self.diff}


def tree(root: str) -> Iterator[Entry]:
    """All that is below a root, sorted by name in each folder; but batchpersist's own folders. OSError."""
    stack = [("", root)]
    while stack:
        name, path = stack.pop()
        mode = os.lstat(path).st_mode
        if name:
            yield Entry(name, path, mode)
        if stat.S_ISDIR(mode):
            inside = sorted(set(os.listdir(path)) - {OWN_FOLDER}, reverse=True)
            stack += [(f"{name}/{inner}" if name else inner, f"{path}/{inner}") for inner in inside]


def digest_tree(root: str) -> tuple[str, int]:
    """A digest (hexadecimal) of the paths, modes and bytes below a root; and the number of files.

    Equal trees have equal digests, however their names would run together.
    """
    digest, files = blake2b(digest_size=16), 0
    for entry in tree(root):
        name = os.fsencode(entry.name)
        digest.update(b"%d %s %o " % (len(name), name, entry.mode))
        digest.update(_content(entry))
        files += stat.S_ISREG(entry.mode)
    return digest.hexdigest(), files


def differences(reference: str, other: str) -> Iterator[Difference]:
    """What is otherwise in ``other``, sorted by path."""
    left, right = ({entry.name: entry for entry in tree(root)} for root in (reference, other))
    for name in sorted(left.keys() | right.keys()):
        if name not in right:
            yield Difference(name, "missing", [])
        elif name not in left:
            yield Difference(name, "extra", [])
        else:
            yield from _compare(left[name], right[name])


def _compare(left: Entry, right: Entry) -> Iterator[Difference]:
    if left.mode != right.mode:
        modes = [f"-{stat.filemode(left.mode)}", f"+{stat.filemode(right.mode)}"]
        yield Difference(left.name, "mode", modes)
    if stat.S_IFMT(left.mode) == stat.S_IFMT(right.mode) and _content(left) != _content(right):
        yield Difference(left.name, "content", _diff(left, right))


def _content(entry: Entry) -> bytes:
    """A digest of a file's bytes, or where a link points to; nothing for a folder and the like."""
    if stat.S_ISLNK(entry.mode):
        return os.fsencode(os.readlink(entry.path))
    digest = blake2b(digest_size=16)
    if stat.S_ISREG(entry.mode):
        with open(entry.path, "rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.digest()


def _diff(left: Entry, right: Entry) -> list[str]:
    """A unified diff from the first line that differs on: one of whole histories would take for ever."""
    if stat.S_ISLNK(left.mode):
        return [f"-{os.readlink(left.path)}", f"+{os.readlink(right.path)}"]
    with open(left.path, "rb") as first, open(right.path, "rb") as second:
        same: deque[bytes] = deque(maxlen=3)
        number, one, two = 0, None, None
        for one, two in zip_longest(_lines(first), _lines(second)):
            number += 1
            if one != two:
                break
            same.append(one or b"")
        before, after = (
            [_shown(line) for line in (*same, at, *islice(_lines(file), _LINES - 1)) if line is not None]
            for at, file in ((one, first), (two, second))
        )
    return [f"@@ line {number} @@", *islice(unified_diff(before, after, lineterm=""), 3, None)]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines, long ones in pieces."""
    return iter(lambda: file.readline(_WIDTH), b"")


def _shown(line: bytes) -> str:
    """As a terminal can take it."""
    end = "" if line.endswith(b"\n") or len(line) == _WIDTH else "  (no newline at the end)"
    text = line.rstrip(b"\n").decode("utf-8", "backslashreplace")
    return _CONTROL(lambda found: f"\\x{ord(found[0]):02x}", text) + end
