"""Walks a folder: which of its files are read, and which are skipped (docs/sources.md)."""

from __future__ import annotations

import os
import stat
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from hashlib import blake2b
from itertools import groupby, islice
from typing import NamedTuple, Protocol

from ..contract import runs_root
from ..contract.runs_root import CLI, LOCAL_MCP, NOT_TASKS, RUNS, SECRETS, SUMMARY, manifest_of, summary_of
from ..errors import SourceUnreadableError, failure_of
from ..foreign_text import encodable
from ..models import Reject
from ..storage.fingerprint import Fingerprint, file_clock
from .formats import Format, describe_suffix, format_of, reading_order
from .source import PLACE_BYTES, Source


class Skipped(Enum):
    """Something that the walk skips and counts."""

    OTHER_MANIFEST = auto()
    IGNORED_FILE = auto()
    """A secret of the orchestrator."""
    INCOMPLETE = auto()
    """A run folder of the orchestrator without a summary."""


LINKED_FOLDER = "(link to a folder)"
"""In place of a suffix: a link that is not followed, though it leads out of its folder."""

_NOT_FILES = {stat.S_IFIFO: "(pipe)", stat.S_IFSOCK: "(socket)", stat.S_IFDIR: "(folder)"}
"""In place of a suffix: what has a file's name but is not a file. All others are devices."""


class UnknownSuffix(NamedTuple):
    """A file that is not read: its name indicates no known format, or it is not a regular file."""

    suffix: str
    """Or what the file is, in brackets."""


Finding = Source | Reject | Skipped | UnknownSuffix

UNSEEN_FILES = 5_000
"""In one source: examining them takes about as long as a scan task."""


def folder_source(path: str, name: str) -> Source:
    """The source that is all that lies below a folder; ``name``: as a person knows it."""
    return Source(Format.FOLDER, path, name, 0, 0)


def list_folder(folder: Source, limit: int) -> Iterator[Finding]:
    """What is in one folder, in reading order (``formats``); folders in it are sources of their own.

    After ``limit`` findings, the remaining files come unexamined, some in each source.
    """
    try:
        listed = _open(folder)
    except OSError as error:
        yield Reject(encodable(folder.name), 0, failure_of(error))
    else:
        yield from islice(listed.findings(), limit)
        yield from listed.rest()


def walk(sources: Iterable[Source], limit: int = sys.maxsize) -> Iterator[Finding]:
    """The sources, and in place of a folder all that lies below it, in reading order at each level.

    After ``limit`` findings, the rest comes as folders, and as unexamined files in them, to be walked another
    time. Lists one folder at a time, as the caller proceeds. Keeps its own stack: folders may be nested
    deeper than Python's calls.
    """
    left: Iterator[Finding] = iter(sources)
    stack: list[tuple[_Folder | _TaskFolder, Iterator[Finding]]] = []
    found = 0
    while found < limit:
        finding = next(stack[-1][1] if stack else left, None)
        if finding is None:
            if not stack:
                return
            stack.pop()
            continue
        if isinstance(finding, Source) and finding.format.is_folder:
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
"""Files of batchpersist and the orchestrator in an out-dir: skipped if they do not hold a run."""


def _open(source: Source) -> _Folder | _TaskFolder:
    """List a folder; it may turn out to be a task's. Raises OSError if it cannot be listed."""
    if source.format is Format.TASK:
        return _TaskFolder(source)
    listed = _Folder(source)
    return _TaskFolder(source._replace(format=Format.TASK)) if listed.is_task else listed


class _Folder:
    """The walk of one folder. Of a million files in it, only the names are in memory.

    A root of the orchestrator has only its tasks' folders, a run folder only the summary.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._path, self._name = source.path.rstrip("/"), source.name.rstrip("/")
        self._folders: set[str] = set()
        self._links: list[str] = []
        """To folders."""
        self._folder_format = Format.FOLDER
        self.is_task = self._is_run = False
        """Of a root of the orchestrator."""
        self._found: deque[Finding] = deque()
        self._entries = iter(source.names or self._select(self._list()))

    def _list(self) -> list[str]:
        names = []
        with os.scandir(self._source.path) as entries:
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

    def _select(self, names: list[str]) -> list[str]:
        """The names to read in a folder, which may be the orchestrator's.

        Opening each folder in it costs too much, unless the folder was named itself, or a name in it suggests
        a root.
        """
        parent, own_name = os.path.split(self._path)
        is_named = not self._source.parents
        if is_named and own_name in NOT_TASKS and runs_root.is_root(parent):
            return []
        if CLI in self._folders and runs_root.is_task_folder(self._path):
            self.is_task = True
        elif (is_named or own_name == RUNS or LOCAL_MCP in self._folders) and runs_root.is_root(self._path):
            self._folder_format = Format.TASK
            self._found += _reject_links(self._name, runs_root.linked_tasks(self._path))
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
        path, name, parents = self._path, self._name, self._source.parents
        below = sum(len(parent) + 1 for parent in parents) + 1
        while self._found:
            yield self._found.popleft()
        for entry in self._entries:
            if self._is_run:
                found = _examine_in_root(f"{path}/{entry}", f"{name}/{entry}", False, below + len(entry))
                yield Skipped.INCOMPLETE if found is None else found
            elif entry in self._folders:
                yield self._folder(entry)
            elif entry in SECRETS:
                yield Skipped.IGNORED_FILE
            elif (doubtful := is_doubtful(entry, parents)) is None:
                yield Skipped.OTHER_MANIFEST
            else:
                yield examine_file(f"{path}/{entry}", f"{name}/{entry}", doubtful, below + len(entry))

    def _folder(self, entry: str) -> Source:
        parents = (*self._source.parents, entry)
        path, name = f"{self._path}/{entry}", f"{self._name}/{entry}"
        return Source(self._folder_format, path, name, 0, 0, parents=parents)

    def rest(self) -> Iterator[Finding]:
        """What has not been found yet: folders, and unexamined files."""
        yield from self._found
        for are_folders, entries in groupby(self._entries, self._folders.__contains__):
            if are_folders:
                yield from map(self._folder, entries)
            else:
                while names := tuple(islice(entries, UNSEEN_FILES)):
                    yield self._source._replace(names=names)


class _TaskFolder:
    """The walk of a task's folder in a root of the orchestrator, which finds its runs by their names."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._path, self._name = source.path.rstrip("/"), source.name.rstrip("/")
        self._below = sum(len(parent) + 1 for parent in source.parents) + 1
        self._runs = iter(source.names or sorted(runs_root.runs_in(self._path)))
        self._found: deque[Finding] = deque()
        """Findings of the last run that have not been yielded yet."""
        if not source.names:
            self._found += _reject_links(self._name, runs_root.linked_run_folders(self._path))

    def findings(self) -> Iterator[Finding]:
        """The files of its runs, in the order of the runs' names."""
        while self._found:
            yield self._found.popleft()
        for run in self._runs:
            self._found.extend(find_run(run, self))
            while self._found:
                yield self._found.popleft()

    def has_run_folder(self, run: str) -> bool:
        return os.path.lexists(f"{self._path}/{CLI}/{run}")

    def examine(self, file: str, doubtful: bool) -> Finding | None:
        below = self._below + len(file)
        return _examine_in_root(f"{self._path}/{file}", f"{self._name}/{file}", doubtful, below)

    def rest(self) -> Iterator[Finding]:
        """What has not been found yet: unexamined runs."""
        yield from self._found
        while names := tuple(islice(self._runs, UNSEEN_FILES)):
            yield self._source._replace(names=names)


def _reject_links(folder: str, links: Iterable[str]) -> Iterator[Reject]:
    """For links in a folder of a root, known as ``folder``: they lead to runs that nobody reads."""
    error = SourceUnreadableError(
        "a link to a folder of runs, which is not followed; name its target as a source"
    )
    return (Reject(encodable(f"{folder}/{link}"), 0, failure_of(error)) for link in links)


class TaskRuns(Protocol):
    """The runs of a task's folder: on a disk, or in a listing of objects."""

    def examine(self, file: str, doubtful: bool) -> Finding | None:
        """What the file at this path below the folder is; None: it does not exist."""

    def has_run_folder(self, run: str) -> bool: ...


def find_run(run: str, runs: TaskRuns) -> Iterator[Finding]:
    """The file of a run: its summary, or else its manifest."""
    found = runs.examine(summary_of(run), False)
    if found is None:
        if runs.has_run_folder(run):
            yield Skipped.INCOMPLETE
        found = runs.examine(manifest_of(run), True)  # those of old versions may have another schema
    if found is not None:
        yield found


def is_doubtful(entry: str, parents: Sequence[str]) -> bool | None:
    """Whether a file in a folder may hold something else than runs; None: it certainly does.

    ``parents``: as in ``Source``.
    """
    in_cli = entry == "manifest.json" and len(parents) >= 2 and parents[-2] == "cli"
    return None if in_cli and len(parents) > 2 else in_cli or entry in _NO_SOURCES


def examine_file(path: str, name: str, doubtful: bool = False, below: int = 0) -> Finding:
    """The source that a file is, if it is readable.

    A file whose metadata cannot be read becomes a source as well: reading it fails again, and reports why. A
    pipe or a device is never opened: this could wait for ever.
    """
    kind = format_of(name)
    if kind is None:
        return UnknownSuffix(describe_suffix(name))
    found = _examine(kind, path, name, doubtful, below)
    return Source(kind, path, name, 0, 0, doubtful, below=below) if found is None else found


def _examine(kind: Format, path: str, name: str, doubtful: bool = False, below: int = 0) -> Finding | None:
    """None where there is no such file."""
    clock = file_clock()
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return Source(kind, path, name, 0, 0, doubtful, below=below)
    if not stat.S_ISREG(status.st_mode):
        return UnknownSuffix(_NOT_FILES.get(stat.S_IFMT(status.st_mode), "(device)"))
    place = blake2b(os.fsencode(f"{path}\0{name}\0{doubtful}"), digest_size=PLACE_BYTES).digest()
    identity = place + Fingerprint.of(status).packed_for_cache(clock)
    return Source(kind, path, name, 0, status.st_size, doubtful, identity, below)


def _examine_in_root(path: str, name: str, doubtful: bool, below: int) -> Finding | None:
    """The same for a summary or manifest, which has to be a file."""
    found = _examine(Format.JSON, path, name, doubtful, below)
    if isinstance(found, UnknownSuffix):
        error = SourceUnreadableError("a folder, pipe or device stands in the place of a run's file")
        return Reject(encodable(name), 0, failure_of(error))
    return found
