"""The proof: one digest of all that a batch wrote, and what differs where two digests differ."""

from __future__ import annotations

import logging
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from hashlib import blake2b
from itertools import islice, zip_longest
from typing import BinaryIO, Literal

from ..foreign_text import encodable, printable
from ..paths import OWN_FOLDER
from ..storage.file_reader import FileBytes, read_blocks
from . import document

_log = logging.getLogger(__name__)

_LINES = 12
"""From the first line that differs on."""

_WIDTH = 200
"""Bytes of a line that are shown."""

LISTED = 100
"""Differences in a document; the rest is counted."""


class Proof:
    """Compares one tree after the other with the first one, which it keeps."""

    def __init__(self, reference: str) -> None:
        """``reference``: where the first tree is to be kept."""
        self._reference = reference
        self._digest = ""
        self._files = 0
        self._trees = 0
        self._wrong: set[str] = set()
        self._differences: list[document.Difference] = []
        self._omitted = 0

    @property
    def is_equal(self) -> bool:
        return not self._wrong

    def check(self, root: str, variant: str, number: int) -> None:
        """Compare what ``variant`` wrote in round ``number``; the very first tree becomes the reference.

        Lists the differences only where a variant differs for the first time. Raises OSError.
        """
        digest, files = digest_tree(root)
        self._trees += 1
        if self._trees == 1:
            self._digest, self._files = digest, files
            os.rename(root, self._reference)
        elif digest != self._digest and variant not in self._wrong:
            self._wrong.add(variant)
            _log.debug("%s differs from the first tree in round %d", variant, number)
            found = compare_trees(self._reference, root)
            free = LISTED - len(self._differences)
            self._differences += [each.as_document(variant, number) for each in islice(found, free)]
            self._omitted += sum(1 for _ in found)

    def as_document(self) -> document.Proof:
        """As compare.json shows it."""
        return document.Proof(
            equal=self.is_equal,
            digest=self._digest,
            files=self._files,
            trees=self._trees,
            differences=self._differences,
            differences_omitted=self._omitted,
        )


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
    """One way in which another tree differs."""

    path: str
    kind: Literal["missing", "extra", "content", "mode"]
    diff: list[str]
    """In the form of a unified diff; empty for what is missing or extra."""

    def as_document(self, variant: str, number: int) -> document.Difference:
        path = encodable(self.path)
        return document.Difference(path=path, kind=self.kind, variant=variant, round=number, diff=self.diff)


def walk_tree(root: str) -> Iterator[Entry]:
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
    for entry in walk_tree(root):
        name = os.fsencode(entry.name)
        digest.update(b"%d %s %o " % (len(name), name, entry.mode))
        digest.update(_content_digest(entry))
        files += stat.S_ISREG(entry.mode)
    return digest.hexdigest(), files


def compare_trees(reference: str, other: str) -> Iterator[Difference]:
    """The differences of ``other``, sorted by path."""
    left, right = ({entry.name: entry for entry in walk_tree(root)} for root in (reference, other))
    for name in sorted(left.keys() | right.keys()):
        if name not in right:
            yield Difference(name, "missing", [])
        elif name not in left:
            yield Difference(name, "extra", [])
        else:
            yield from _entry_differences(left[name], right[name])


def _entry_differences(left: Entry, right: Entry) -> Iterator[Difference]:
    if left.mode != right.mode:
        modes = [f"-{stat.filemode(left.mode)}", f"+{stat.filemode(right.mode)}"]
        yield Difference(left.name, "mode", modes)
    if stat.S_IFMT(left.mode) == stat.S_IFMT(right.mode) and _content_digest(left) != _content_digest(right):
        yield Difference(left.name, "content", _diff_files(left, right))


def _content_digest(entry: Entry) -> bytes:
    """A digest of a file's bytes, or where a link points to; nothing for a folder and the like."""
    if stat.S_ISLNK(entry.mode):
        return os.fsencode(os.readlink(entry.path))
    digest = blake2b(digest_size=16)
    if stat.S_ISREG(entry.mode):
        with open(entry.path, "rb", buffering=0) as file:
            for block in read_blocks(FileBytes(file.fileno())):
                digest.update(block)
    return digest.digest()


def _diff_files(left: Entry, right: Entry) -> list[str]:
    """A unified diff from the first line that differs: one of whole histories could take hours."""
    if stat.S_ISLNK(left.mode):
        return [f"-{printable(os.readlink(left.path))}", f"+{printable(os.readlink(right.path))}"]
    with open(left.path, "rb") as first, open(right.path, "rb") as second:
        same: deque[bytes] = deque(maxlen=3)
        number, one, two = 0, None, None
        for one, two in zip_longest(_lines(first), _lines(second)):
            number += 1
            if one != two:
                break
            same.append(one or b"")
        before, after = (
            [
                _printable_line(line)
                for line in (*same, at, *islice(_lines(file), _LINES - 1))
                if line is not None
            ]
            for at, file in ((one, first), (two, second))
        )
    return [f"@@ line {number} @@", *islice(unified_diff(before, after, lineterm=""), 3, None)]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines, long ones in pieces."""
    return iter(lambda: file.readline(_WIDTH), b"")


def _printable_line(line: bytes) -> str:
    """The line without control characters."""
    end = "" if line.endswith(b"\n") or len(line) == _WIDTH else "  (no newline at the end)"
    return printable(line.rstrip(b"\n").decode("utf-8", "surrogateescape")) + end
