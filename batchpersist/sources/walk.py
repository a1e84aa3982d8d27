"""Walking a folder: which of its files are read, and what is passed over (docs/sources.md)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from enum import Enum, auto

from ..errors import failure_of
from ..stamps import lasting_stamp, moment, state
from .parts import Piece, Reject, format_of


class Passed(Enum):
    """Something that was passed over, and is counted."""

    OTHER_MANIFEST = auto()
    IGNORED_FILE = auto()


Finding = Piece | Reject | Passed


def walk(path: str, name: str) -> Iterator[Finding]:
    """Everything below the folder ``path`` (known as ``name``), sorted by name at each level.

    Lists one folder at a time, as the caller proceeds. Keeps its own stack: folders may be
    nested deeper than Python's calls.
    """
    stack: list[_Folder] = []
    try:
        stack.append(_Folder(path, name, ()))
    except OSError as error:
        yield Reject(printable(name), 0, failure_of(error))
    while stack:
        folder = stack[-1]
        entry = next(folder.entries, None)
        if entry is None:
            stack.pop()
        elif entry not in folder.folders:
            yield folder.finding(entry)
        else:
            try:
                stack.append(folder.below(entry))
            except OSError as error:
                yield Reject(printable(f"{folder.name}/{entry}"), 0, failure_of(error))


class _Folder:
    """One folder under way. At a million files in it, only their names are held."""

    def __init__(self, path: str, name: str, parents: tuple[str, ...]) -> None:
        self.path = path.rstrip("/")
        self.name = name.rstrip("/")
        self.parents = parents
        """Names of the folders from the source (excluded) down to this one (included)."""
        self.folders: set[str] = set()
        self.entries = iter(self._list(path))

    def _list(self, path: str) -> list[str]:
        names = []
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == ".":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    self.folders.add(name)
                elif entry.is_symlink() and os.path.isdir(entry.path):
                    continue
                names.append(name)
        names.sort()
        return names

    def below(self, entry: str) -> _Folder:
        return _Folder(f"{self.path}/{entry}", f"{self.name}/{entry}", (*self.parents, entry))

    def finding(self, entry: str) -> Finding:
        """What one file of this folder is."""
        in_cli = entry == "manifest.json" and len(self.parents) >= 2 and self.parents[-2] == "cli"
        if in_cli and len(self.parents) > 2:
            return Passed.OTHER_MANIFEST
        return found_file(f"{self.path}/{entry}", f"{self.name}/{entry}", doubtful=in_cli)


def found_file(path: str, name: str, *, doubtful: bool = False) -> Finding:
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
        return Piece(kind, path, name, 0, 0, doubtful)
    if not stat.S_ISREG(status.st_mode):
        return Passed.IGNORED_FILE
    return Piece(kind, path, name, 0, status.st_size, doubtful, lasting_stamp(state(status), before))


def printable(name: str) -> str:
    """Python decodes the bytes of a name that are not UTF-8 to lone surrogates; show them as ``\\xff``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
