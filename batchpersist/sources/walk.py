"""Walking a folder: which of its files are read, and what is passed over (docs/sources.md)."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from hashlib import blake2b

from ..errors import failure_of
from ..stamps import NO_STAMP, STAMP_BYTES, lasting_stamp, moment, state
from .parts import Format, Piece, Reject, format_of


class Passed(Enum):
    """Something that was passed over, and is counted."""

    OTHER_MANIFEST = auto()
    IGNORED_FILE = auto()


Finding = Piece | Reject | Passed


def folder(path: str, name: str) -> Piece:
    """The piece that stands for all that is below a folder (known as ``name``)."""
    return Piece(Format.FOLDER, path, name, 0, 0)


def entries(folder: Piece) -> Iterator[Finding]:
    """What is in one folder, sorted by name; folders in it are pieces of their own."""
    try:
        listed = _Folder(folder)
    except OSError as error:
        yield Reject(printable(folder.name), 0, failure_of(error))
        return
    while (finding := listed.next()) is not None:
        yield finding


def walk(pieces: Iterable[Piece], limit: int = sys.maxsize) -> Iterator[Finding]:
    """The pieces, and in place of a folder all that is below it, sorted by name at each level.

    After ``limit`` findings, what is left comes as folders, to be walked another time. Lists
    one folder at a time, as the caller proceeds. Keeps its own stack: folders may be nested
    deeper than Python's calls.
    """
    left, found = iter(pieces), 0
    stack: list[_Folder] = []
    while found < limit:
        finding = stack[-1].next() if stack else next(left, None)
        if finding is None:
            if not stack:
                return
            stack.pop()
            continue
        if isinstance(finding, Piece) and finding.format is Format.FOLDER:
            try:
                stack.append(_Folder(finding))
            except OSError as error:
                finding = Reject(printable(finding.name), 0, failure_of(error))
            else:
                continue
        found += 1
        yield finding
    while stack:
        yield stack.pop().rest()
    yield from left


_NO_SOURCES = frozenset({"runs.json", "state.json", "metrics.json"})
"""What batchpersist and the orchestrator leave in an out-dir: passed over where they hold no run."""


class _Folder:
    """One folder under way. At a million files in it, only their names are held."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece
        self._path, self._name = piece.path.rstrip("/"), piece.name.rstrip("/")
        self._below = sum(len(parent) + 1 for parent in piece.parents)
        self._folders: set[str] = set()
        self._entries = iter(self._list())
        self._last = piece.after

    def _list(self) -> list[str]:
        names, after = [], self._piece.after
        with os.scandir(self._piece.path) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == "." or name <= after:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    self._folders.add(name)
                elif entry.is_symlink() and os.path.isdir(entry.path):
                    continue
                names.append(name)
        names.sort()
        return names

    def next(self) -> Finding | None:
        """The next entry: what a file is, or a folder as a piece; None at the end."""
        entry = next(self._entries, None)
        if entry is None:
            return None
        self._last = entry
        path, name, parents = f"{self._path}/{entry}", f"{self._name}/{entry}", self._piece.parents
        if entry in self._folders:
            return Piece(Format.FOLDER, path, name, 0, 0, parents=(*parents, entry))
        doubtful = is_doubtful(entry, parents)
        if doubtful is None:
            return Passed.OTHER_MANIFEST
        return found_file(path, name, doubtful=doubtful, below=self._below + 1 + len(entry))

    def rest(self) -> Piece:
        """What has not been taken yet."""
        return self._piece._replace(after=self._last)


def is_doubtful(entry: str, parents: Sequence[str]) -> bool | None:
    """Whether a file in a folder may hold something else than runs; None: it does, for certain.

    ``parents``: the folder's names, from the source (excluded) down to it.
    """
    in_cli = entry == "manifest.json" and len(parents) >= 2 and parents[-2] == "cli"
    return None if in_cli and len(parents) > 2 else in_cli or entry in _NO_SOURCES


def found_file(path: str, name: str, *, doubtful: bool = False, below: int = 0) -> Finding:
    """The piece that a file is, if it is readable.

    A file that cannot be looked at becomes a piece all the same: reading it fails again, and
    says why. A pipe or a device is never opened: that could wait for ever.
    """
    kind = format_of(name)
    if kind is None:
        return Passed.IGNORED_FILE
    before = moment()
    try:
        status = os.stat(path)
    except OSError:
        return Piece(kind, path, name, 0, 0, doubtful, below=below)
    if not stat.S_ISREG(status.st_mode):
        return Passed.IGNORED_FILE
    identity = _identity(kind, path, name, doubtful, lasting_stamp(state(status), before))
    return Piece(kind, path, name, 0, status.st_size, doubtful, identity, below)


def _identity(kind: Format, path: str, name: str, doubtful: bool, stamp: bytes) -> bytes:
    if stamp == NO_STAMP:
        return NO_STAMP
    place = os.fsencode(f"{kind.name}\0{doubtful}\0{path}\0{name}")
    return blake2b(stamp + place, digest_size=STAMP_BYTES).digest()


def printable(name: str) -> str:
    """Python decodes the bytes of a name that are not UTF-8 to lone surrogates; show them as ``\\xff``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
