"""Finds the sources that a person names, and cuts them lazily into scan tasks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, repeat
from urllib.parse import urlsplit

from ..context import Checkpoint, RunContext
from ..contract.runs_root import MANIFEST, SECRETS, SUMMARY, is_root
from ..errors import SourceMissingError, UsageError
from .formats import READABLE, Format, format_of
from .object_store import is_object_folder, is_remote, object_exists, walk_objects
from .scan_tasks import SCAN_TASK_BYTES, ScanTask, cut_scan_tasks
from .source import Source
from .streams import STANDARD_INPUT
from .walk import Finding, examine_file, folder_source, is_doubtful, list_folder, walk

_EXAMINED_FILES = 1_000
"""Files of a source that ``discover`` examines itself; it leaves the others to the workers."""

_WALK = 20_000
"""Findings of one walk: it holds in memory what has been found and is not scanned yet."""


def paths_of(sources: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Sources as text; they may be path objects. Raises UsageError for a single path."""
    if isinstance(sources, str | os.PathLike):
        raise UsageError(f"sources are several paths, not one: [{os.fspath(sources)!r}]")
    return [os.fspath(source) for source in sources]


def discover(
    sources: Sequence[str],
    context: Checkpoint = RunContext(),
    *,
    scan_task_bytes: int = SCAN_TASK_BYTES,
) -> Iterator[ScanTask]:
    """The scan tasks of all ``sources`` (files, folders, URIs, or ``-`` for standard input), in their order.

    Looks up all sources before it returns: raises SourceMissingError if one of them does not exist, or
    cannot be looked up on its object storage; UsageError for a file of unknown format. The rest is found as
    the scan tasks are taken and scanned: a folder within a folder is a source that its worker expands. A
    folder or file that cannot be listed or read is a reject in a scan task, never an exception.
    ``context`` is checked again and again while an object storage is asked; what it raises ends that.
    """
    sources = paths_of(sources)
    missing = [source for source in sources if not source_exists(source, context)]
    if missing:
        raise SourceMissingError(missing[0])
    for source in sources:
        _check_format(source, context)
    findings = (finding for source in sources for finding in _find_files(source, context))
    return cut_scan_tasks(findings, scan_task_bytes, count())


def expand(number: int, sources: Iterable[Source]) -> Iterator[ScanTask]:
    """Scan tasks for sources some of which are folders; deep inside these, sources may be folders again.

    They have the ``number`` of the scan task that the sources come from.
    """
    return cut_scan_tasks(walk(sources, _WALK), SCAN_TASK_BYTES, repeat(number))


def source_exists(source: str, context: Checkpoint = RunContext()) -> bool:
    """Whether a source exists, as far as this is known without reading it.

    Raises UsageError and SourceUnreachableError for one on object storage.
    """
    if source == STANDARD_INPUT:
        return sys.stdin is not None
    if is_remote(source):
        return object_exists(source, context)
    try:
        os.stat(source)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it may exist without being accessible: its reader reports why
        return True
    return True


def is_read_from(source: str, path: str) -> bool:
    """Whether ``path`` is the source, or lies in this folder and has the name of a file that is read.

    ``path`` need not exist: the next batch would find it among its sources if this one wrote it.
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
    """The source by a name that is valid in any working folder."""
    return source if source == STANDARD_INPUT or is_remote(source) else os.path.abspath(source)


def _check_format(source: str, context: Checkpoint) -> None:
    if source == STANDARD_INPUT or (
        is_object_folder(source, context) if is_remote(source) else os.path.isdir(source)
    ):
        return
    if os.path.basename(source) in SECRETS:
        raise UsageError(f"the orchestrator keeps a secret there, which is never opened: {source}")
    if format_of(urlsplit(source).path if is_remote(source) else source) is None:
        raise UsageError(
            f"cannot tell the format of {source}: readable are folders, {READABLE}, and - for JSON lines"
        )
    if not is_remote(source) and os.path.exists(source) and not os.path.isfile(source):
        raise UsageError(f"not a regular file: {source}; pipe it into - instead")


def _find_files(source: str, context: Checkpoint) -> Iterator[Finding]:
    if source == STANDARD_INPUT:
        yield Source(Format.STANDARD_INPUT, source, "<stdin>", 0, 0)
    elif is_remote(source):
        yield from walk_objects(source, context)
    elif os.path.isdir(source):
        yield from list_folder(folder_source(os.path.abspath(source), source), _EXAMINED_FILES)
    else:
        yield examine_file(os.path.abspath(source), source)
