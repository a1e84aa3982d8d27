"""Finds the sources and cuts them lazily into scan tasks of about the same work."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, repeat
from urllib.parse import urlsplit

from ..contract.runs_root import MANIFEST, SECRETS, SUMMARY, is_root
from ..errors import SourceMissingError, UsageError
from .formats import READABLE, format_of
from .object_store import is_folder, is_object_there, is_remote, objects
from .scan_tasks import FOLDERS, PART_BYTES, Format, Part, Piece, Pieces, Reject, range_part
from .staging import is_spooled
from .walk import Finding, Passed, UnknownSuffix, entries, folder, found_file, is_doubtful, walk

STANDARD_INPUT = "-"

PART_FILES = 500

FOLDER_FILES = 16
"""A folder counts as so many files: there may be more in it, or one."""

SEEN_AT_ONCE = 1_000
"""Files in a source that are looked at by whoever takes the parts; the others are for the workers."""

WALK = 20_000
"""Files to look for at once: what is known of them, and not scanned yet, is held in memory."""

_SPLIT = {Format.LINES, Format.STANDARD_INPUT}
"""What may be long enough for parts of its own."""

EXPANSION = 10
"""What compressed sources and tables grow by when they are read, about."""


def paths_of(sources: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Sources as text; path objects will do, too. Raises UsageError where they are not several."""
    if isinstance(sources, str | os.PathLike):
        raise UsageError(f"sources are several paths, not one: [{os.fspath(sources)!r}]")
    return [os.fspath(source) for source in sources]


def discover(
    sources: Sequence[str], *, part_bytes: int = PART_BYTES, alive: Callable[[], None] = lambda: None
) -> Iterator[Part]:
    """The parts of all ``sources`` (files, folders, URIs, or ``-`` for standard input), in source order.

    All sources are looked up before this returns: SourceMissingError where one of them does not
    exist, or cannot be looked up on its object storage; UsageError for a file whose format is not
    known. The rest is found while the parts are taken and scanned: a folder within a folder is a
    piece that its scan unfolds. What cannot be listed or read is a reject in a part, never an
    exception. ``alive`` is called again and again while an object storage is asked; what it raises ends that.
    """
    sources = paths_of(sources)
    missing = [source for source in sources if not is_there(source, alive)]
    if missing:
        raise SourceMissingError(missing[0])
    for source in sources:
        _check_format(source, alive)
    findings = (finding for source in sources for finding in _look_into(source, alive))
    return _pack(findings, part_bytes, count())


def unfold(number: int, pieces: Iterable[Piece]) -> Iterator[Part]:
    """Parts for pieces of which some are folders; what is deep inside these may be folders again.

    They have the ``number`` of the part that the pieces come from.
    """
    return _pack(walk(pieces, WALK), PART_BYTES, repeat(number))


def is_there(source: str, alive: Callable[[], None] = lambda: None) -> bool:
    """Whether a source exists, as far as can be told without reading it.

    Raises UsageError and SourceUnreachableError for one on object storage.
    """
    if source == STANDARD_INPUT:
        return sys.stdin is not None
    if is_remote(source):
        return is_object_there(source, alive)
    try:
        os.stat(source)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it may be there, but cannot be looked at: that is for its reader to say
        return True
    return True


def is_read_from(source: str, path: str) -> bool:
    """Whether a file is the source, or lies in this folder and is called like a file that is read.

    ``path`` need not exist: a batch that wrote it would find it among its sources the next time.
    """
    if source == STANDARD_INPUT or is_remote(source):
        return False
    source, path = os.path.realpath(source), os.path.realpath(path)
    names = os.path.relpath(path, source).split(os.sep)
    if path == source or names[0] == os.pardir or not os.path.isdir(source):
        return path == source
    if is_root(source):
        return names[-1] in (SUMMARY, MANIFEST)
    hidden = any(name.startswith(".") for name in names)
    return not hidden and format_of(names[-1]) is not None and is_doubtful(names[-1], names[:-1]) is False


def absolute(source: str) -> str:
    """A source as it is called from any folder."""
    return source if source == STANDARD_INPUT or is_remote(source) else os.path.abspath(source)


def _check_format(source: str, alive: Callable[[], None]) -> None:
    if source == STANDARD_INPUT or (is_folder(source, alive) if is_remote(source) else os.path.isdir(source)):
        return
    if os.path.basename(source) in SECRETS:
        raise UsageError(f"the orchestrator keeps a secret there, which is never opened: {source}")
    if format_of(urlsplit(source).path if is_remote(source) else source) is None:
        raise UsageError(
            f"cannot tell the format of {source}: readable are folders, {READABLE}, and - for JSON lines"
        )
    if not is_remote(source) and os.path.exists(source) and not os.path.isfile(source):
        raise UsageError(f"not a regular file: {source}; pipe it into - instead")


def _look_into(source: str, alive: Callable[[], None]) -> Iterator[Finding]:
    if source == STANDARD_INPUT:
        yield Piece(Format.STANDARD_INPUT, source, "<stdin>", 0, 0)
    elif is_remote(source):
        yield from objects(source, alive)
    elif os.path.isdir(source):
        yield from entries(folder(os.path.abspath(source), source), SEEN_AT_ONCE)
    else:
        yield found_file(os.path.abspath(source), source)


def _pack(findings: Iterable[Finding], part_bytes: int, numbers: Iterator[int]) -> Iterator[Part]:
    """Small files together in one part, a large file of lines in many."""
    batch = _Batch()
    for finding in findings:
        if isinstance(finding, Piece) and _is_alone(finding, part_bytes):
            if batch:
                yield batch.part(next(numbers))
                batch = _Batch()
            yield from _split(finding, part_bytes, numbers)
            continue
        batch.add(finding)
        if batch.size >= part_bytes or batch.files >= PART_FILES:
            yield batch.part(next(numbers))
            batch = _Batch()
    if batch:
        yield batch.part(next(numbers))


def _is_alone(piece: Piece, part_bytes: int) -> bool:
    return piece.format in _SPLIT and (piece.stop > part_bytes or piece.format is Format.STANDARD_INPUT)


def _split(piece: Piece, part_bytes: int, numbers: Iterator[int]) -> Iterator[Part]:
    if piece.format is Format.STANDARD_INPUT:
        yield Part(next(numbers), Pieces.of([piece]), local=True)
        return
    if is_remote(piece.path):  # it is cut when it has been fetched
        yield Part(next(numbers), Pieces.of([piece]))
        return
    for cut in piece.cut(part_bytes):
        yield range_part(next(numbers), cut)


class _Batch:
    """What the next part will hold."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.size = 0
        self.files = 0
        self._rejects: list[Reject] = []
        self._passed: Counter[Passed | UnknownSuffix] = Counter()

    def __bool__(self) -> bool:
        return bool(self.pieces or self._rejects or self._passed)

    def add(self, finding: Finding) -> None:
        if isinstance(finding, Piece):
            self.pieces.append(finding)
            if finding.format in FOLDERS:
                self.files += len(finding.names) or FOLDER_FILES
            else:
                self.files += 1
            self.size += finding.stop * (EXPANSION if is_spooled(finding.format) else 1)
        elif isinstance(finding, Reject):
            self._rejects.append(finding)
        else:
            self._passed[finding] += 1

    def part(self, number: int) -> Part:
        suffixes = {
            found.suffix: files for found, files in self._passed.items() if isinstance(found, UnknownSuffix)
        }
        return Part(
            number,
            Pieces.of(self.pieces),
            other_manifests=self._passed[Passed.OTHER_MANIFEST],
            ignored_files=self._passed[Passed.IGNORED_FILE] + sum(suffixes.values()),
            unknown_suffixes=suffixes,
            incomplete=self._passed[Passed.INCOMPLETE],
            rejects=tuple(self._rejects),
        )
