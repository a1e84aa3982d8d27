"""Walks a folder: which of its files are read, and which are skipped (docs/sources.md)."""

from __future__ import annotations

import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, auto
from hashlib import blake2b
from itertools import groupby, islice
from typing import NamedTuple

from ..contract import runs_root
from ..contract.runs_root import CLI, LOCAL_MCP, NOT_TASKS, RUNS, SECRETS, SUMMARY, manifest_of, summary_of
from ..errors import SourceUnreadableError, failure_of
from ..foreign_text import encodable
from ..storage.fingerprint import Fingerprint, file_clock
from .formats import format_of, reading_order, unread_suffix
from .scan_tasks import FOLDERS, PLACE_BYTES, Format, Piece, Reject


class Passed(Enum):
    """Something that was passed over, and is counted."""

    OTHER_MANIFEST = auto()
    IGNORED_FILE = auto()
    """A secret of the orchestrator."""
    INCOMPLETE = auto()
    """A run folder of the orchestrator without a summary."""


LINKED_FOLDER = "(link to a folder)"
"""Stands where a suffix does for a link that is not followed, though it leads out of the folder it is in."""

_NOT_FILES = {stat.S_IFIFO: "(pipe)", stat.S_IFSOCK: "(socket)", stat.S_IFDIR: "(folder)"}
"""Stand where a suffix does for what has a file's name but is none; all others are devices."""


class UnknownSuffix(NamedTuple):
    """A file that is not read, for its name says no known format, or it is not a regular file."""

    suffix: str
    """Or what the file is, in brackets."""


Finding = Piece | Reject | Passed | UnknownSuffix

UNSEEN_FILES = 5_000
"""In one piece: to look at them takes as long as to scan a part."""


def folder(path: str, name: str) -> Piece:
    """The piece that stands for all that is below a folder (known as ``name``)."""
    return Piece(Format.FOLDER, path, name, 0, 0)


def entries(folder: Piece, limit: int) -> Iterator[Finding]:
    """What is in one folder, in reading order (``filenames``); folders in it are pieces of their own.

    After ``limit`` findings come, unseen, the files that are left, some at a time.
    """
    try:
        listed = _open(folder)
    except OSError as error:
        yield Reject(encodable(folder.name), 0, failure_of(error))
    else:
        yield from islice(listed.findings(), limit)
        yield from listed.rest()


def walk(pieces: Iterable[Piece], limit: int = sys.maxsize) -> Iterator[Finding]:
    """The pieces, and in place of a folder all that is below it, in reading order at each level.

    After ``limit`` findings, what is left comes as folders, and as files in them that nobody has looked
    at, to be walked another time. Lists one folder at a time, as the caller proceeds. Keeps its own stack:
    folders may be nested deeper than Python's calls.
    """
    left: Iterator[Finding] = iter(pieces)
    stack: list[tuple[_Folder | _Task, Iterator[Finding]]] = []
    found = 0
    while found < limit:
        finding = next(stack[-1][1] if stack else left, None)
        if finding is None:
            if not stack:
                return
            stack.pop()
            continue
        if isinstance(finding, Piece) and finding.format in FOLDERS:
            try:
                listed = _open(finding)
            except OSError as error:
                finding = Reject(encodable(finding.name), 0, failure_of(error))
            else:
                stack.append((listed, listed.findings()))
                continue
        found += 1
        yield finding
    while stack:
        yield from stack.pop()[0].rest()
    yield from left


_NO_SOURCES = frozenset({"runs.json", "state.json", "metrics.json"})
"""What batchpersist and the orchestrator leave in an out-dir: passed over where they hold no run."""


def _open(piece: Piece) -> _Folder | _Task:
    """List a folder, as what it turns out to be. Raises OSError where it cannot be listed."""
    if piece.format is Format.TASK:
        return _Task(piece)
    listed = _Folder(piece)
    return _Task(piece._replace(format=Format.TASK)) if listed.is_task else listed


class _Folder:
    """One folder under way. At a million files in it, only their names are held.

    Of a root of the orchestrator only the tasks' folders are taken, of a run folder only the summary.
    """

    def __init__(self, piece: Piece) -> None:
        self._piece = piece
        self._path, self._name = piece.path.rstrip("/"), piece.name.rstrip("/")
        self._folders: set[str] = set()
        self._links: list[str] = []
        """To folders."""
        self._folder_format = Format.FOLDER
        self.is_task = self._is_run = False
        """Of a root of the orchestrator."""
        self._found: deque[Finding] = deque()
        self._entries = iter(piece.names or self._recognise(self._list()))

    def _list(self) -> list[str]:
        names = []
        with os.scandir(self._piece.path) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == "." and not (name == RUNS and runs_root.is_root(entry.path)):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    self._folders.add(name)
                elif entry.is_symlink() and os.path.isdir(entry.path):
                    self._links.append(entry.path)
                    continue
                names.append(name)
        names.sort(key=reading_order)
        return names

    def _recognise(self, names: list[str]) -> list[str]:
        """What to take of the names in a folder, which may be the orchestrator's.

        A look into each folder in it costs too much, unless the folder was named itself, or a name in it
        raises the suspicion.
        """
        parent, own_name = os.path.split(self._path)
        is_named = not self._piece.parents
        if is_named and own_name in NOT_TASKS and runs_root.is_root(parent):
            return []
        if CLI in self._folders and runs_root.is_task_folder(self._path):
            self.is_task = True
        elif (is_named or own_name == RUNS or LOCAL_MCP in self._folders) and runs_root.is_root(self._path):
            self._folder_format = Format.TASK
            self._found += _not_followed(self._name, runs_root.linked_tasks(self._path))
            return [name for name in names if name in self._folders and name not in NOT_TASKS]
        elif os.path.basename(parent) == CLI and runs_root.is_run_folder(self._path):
            self._is_run = True
            return [SUMMARY]
        own = os.path.realpath(self._path)
        leading_out = [link for link in self._links if os.path.dirname(os.path.realpath(link)) != own]
        self._found += [UnknownSuffix(LINKED_FOLDER)] * len(leading_out)
        return names

    def findings(self) -> Iterator[Finding]:
        """What its entries are, in order."""
        path, name, parents = self._path, self._name, self._piece.parents
        below = sum(len(parent) + 1 for parent in parents) + 1
        while self._found:
            yield self._found.popleft()
        for entry in self._entries:
            if self._is_run:
                found = _look_in_root(f"{path}/{entry}", f"{name}/{entry}", False, below + len(entry))
                yield Passed.INCOMPLETE if found is None else found
            elif entry in self._folders:
                yield self._folder(entry)
            elif entry in SECRETS:
                yield Passed.IGNORED_FILE
            elif (doubtful := is_doubtful(entry, parents)) is None:
                yield Passed.OTHER_MANIFEST
            else:
                yield found_file(f"{path}/{entry}", f"{name}/{entry}", doubtful, below + len(entry))

    def _folder(self, entry: str) -> Piece:
        parents = (*self._piece.parents, entry)
        path, name = f"{self._path}/{entry}", f"{self._name}/{entry}"
        return Piece(self._folder_format, path, name, 0, 0, parents=parents)

    def rest(self) -> Iterator[Finding]:
        """What has not been taken yet: folders, and files unseen."""
        yield from self._found
        for are_folders, entries in groupby(self._entries, self._folders.__contains__):
            if are_folders:
                yield from map(self._folder, entries)
            else:
                while names := tuple(islice(entries, UNSEEN_FILES)):
                    yield self._piece._replace(names=names)


class _Task:
    """A task's folder under way, in a root of the orchestrator: its runs are looked for by their names."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece
        self._path, self._name = piece.path.rstrip("/"), piece.name.rstrip("/")
        self._below = sum(len(parent) + 1 for parent in piece.parents) + 1
        self._runs = iter(piece.names or sorted(runs_root.runs_in(self._path)))
        self._found: deque[Finding] = deque()
        """Of the last run; at first, of none."""
        if not piece.names:
            self._found += _not_followed(self._name, runs_root.linked_run_folders(self._path))

    def findings(self) -> Iterator[Finding]:
        """What there is of its runs, in the order of their names."""
        while self._found:
            yield self._found.popleft()
        for run in self._runs:
            self._found.extend(look_for_run(run, self._file, self._has_run_folder))
            while self._found:
                yield self._found.popleft()

    def _has_run_folder(self, run: str) -> bool:
        return os.path.lexists(f"{self._path}/{CLI}/{run}")

    def _file(self, file: str, doubtful: bool) -> Finding | None:
        below = self._below + len(file)
        return _look_in_root(f"{self._path}/{file}", f"{self._name}/{file}", doubtful, below)

    def rest(self) -> Iterator[Finding]:
        """What has not been taken yet: runs that nobody has looked for."""
        yield from self._found
        while names := tuple(islice(self._runs, UNSEEN_FILES)):
            yield self._piece._replace(names=names)


def _not_followed(folder: str, links: Iterable[str]) -> Iterator[Reject]:
    """Links in a folder of a root, known as ``folder``: where they lead are runs that nobody reads."""
    error = SourceUnreadableError(
        "a link to a folder of runs, which is not followed; name its target as a source"
    )
    return (Reject(encodable(f"{folder}/{link}"), 0, failure_of(error)) for link in links)


def look_for_run(
    run: str, look_at: Callable[[str, bool], Finding | None], has_folder: Callable[[str], bool]
) -> Iterator[Finding]:
    """What there is of a run in a task's folder: its summary, or else its manifest.

    ``look_at`` is given a path from the task's folder, and whether the file is doubtful.
    """
    found = look_at(summary_of(run), False)
    if found is None:
        if has_folder(run):
            yield Passed.INCOMPLETE
        found = look_at(manifest_of(run), True)  # those of old versions may be of another schema
    if found is not None:
        yield found


def is_doubtful(entry: str, parents: Sequence[str]) -> bool | None:
    """Whether a file in a folder may hold something else than runs; None: it does, for certain.

    ``parents``: the folder's names, from the source (excluded) down to it.
    """
    in_cli = entry == "manifest.json" and len(parents) >= 2 and parents[-2] == "cli"
    return None if in_cli and len(parents) > 2 else in_cli or entry in _NO_SOURCES


def found_file(path: str, name: str, doubtful: bool = False, below: int = 0) -> Finding:
    """The piece that a file is, if it is readable.

    A file that cannot be looked at becomes a piece all the same: reading it fails again, and
    says why. A pipe or a device is never opened: that could wait for ever.
    """
    kind = format_of(name)
    if kind is None:
        return UnknownSuffix(unread_suffix(name))
    found = _look_at(kind, path, name, doubtful, below)
    return Piece(kind, path, name, 0, 0, doubtful, below=below) if found is None else found


def _look_at(kind: Format, path: str, name: str, doubtful: bool = False, below: int = 0) -> Finding | None:
    """None where there is no such file."""
    clock = file_clock()
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return Piece(kind, path, name, 0, 0, doubtful, below=below)
    if not stat.S_ISREG(status.st_mode):
        return UnknownSuffix(_NOT_FILES.get(stat.S_IFMT(status.st_mode), "(device)"))
    place = blake2b(os.fsencode(f"{path}\0{name}\0{doubtful}"), digest_size=PLACE_BYTES).digest()
    identity = place + Fingerprint.of(status).packed_for_cache(clock)
    return Piece(kind, path, name, 0, status.st_size, doubtful, identity, below)


def _look_in_root(path: str, name: str, doubtful: bool, below: int) -> Finding | None:
    """The same for a summary or manifest, in whose place nothing but a file may be."""
    found = _look_at(Format.JSON, path, name, doubtful, below)
    if isinstance(found, UnknownSuffix):
        error = SourceUnreadableError("a folder, pipe or device stands in the place of a run's file")
        return Reject(encodable(name), 0, failure_of(error))
    return found
