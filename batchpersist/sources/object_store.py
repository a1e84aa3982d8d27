"""Sources on object storage, ``s3://`` and ``gs://`` (docs/sources.md).

The worker that scans an object fetches it whole into the spool, and reads it there as a local file.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, quote, unquote, urlsplit

from ..context import Checkpoint, RunContext
from ..contract.runs_root import CLI, RUNS, SECRETS, root_above, run_of
from ..errors import SourceUnreachableError, SourceUnreadableError, UsageError, failure_of
from ..models import Reject
from ..system_limits import no_thread
from .formats import describe_suffix, format_of, reading_order
from .source import Source
from .walk import Finding, Skipped, UnknownSuffix, find_run, is_doubtful

if TYPE_CHECKING:
    from pyarrow import NativeFile
    from pyarrow.fs import FileInfo, FileSystem

T = TypeVar("T")

SCHEMES = ("s3://", "gs://")

BLOCK = 8 << 20
"""Bytes of a request: enough to outweigh its latency."""

ATTEMPTS = 4
"""Of each request; the storage's own client tries a few times in each."""

FIRST_DELAY = 0.2
"""Seconds before the second attempt; doubled for each further one."""

ANONYMOUS = "anonymous"

_POLL_SECONDS = 0.1


def is_remote(source: str) -> bool:
    """Whether a source is on object storage."""
    return source.startswith(SCHEMES)


def object_exists(source: str, context: Checkpoint = RunContext()) -> bool:
    """Whether there is an object, or a folder of objects, at this URI as a person spelled it.

    Raises UsageError if it is not a URI, and SourceUnreachableError if the storage does not answer.
    """
    from pyarrow.fs import FileType

    return _look_up(source, context).type is not FileType.NotFound


def is_object_folder(source: str, context: Checkpoint = RunContext()) -> bool:
    """Whether objects lie below this URI, and none at it. Raises like ``object_exists``."""
    from pyarrow.fs import FileType

    return _look_up(source, context).type is FileType.Directory


def walk_objects(source: str, context: Checkpoint = RunContext()) -> Iterator[Finding]:
    """The object at this URI, or those below it, in the order in which a folder's files come.

    One listing, which is held in memory. A listing that fails is a reject.
    """
    split = urlsplit(source)
    if not is_object_folder(source, context):
        yield _find_object(split, split.path.strip("/"), _look_up(source, context))
        return
    from pyarrow.fs import FileSelector

    try:
        with _reword_error("its folder cannot be listed"):
            selector = FileSelector(_path(split), recursive=True)
            listed = _wait_for(lambda: _file_system(_bucket(split)).get_file_info(selector), context)
    except SourceUnreadableError as error:
        yield Reject(_name(split, split.path), 0, failure_of(error))
        return
    yield from _Listing(split, listed).findings()


Names = tuple[str, ...]
"""The bucket, the folders in it, and a file."""


class _Listing:
    """The walk of the objects below a URI."""

    def __init__(self, split: SplitResult, listed: Iterable[FileInfo]) -> None:
        from pyarrow.fs import FileType

        self._split = split
        self._files = {tuple(info.path.split("/")): info for info in listed if info.type is FileType.File}
        self._depth = _path(split).count("/") + 1

    def findings(self) -> Iterator[Finding]:
        units = _group_runs(self._files, self._depth)
        for names, is_run in sorted(units, key=_order):
            if is_run:
                yield from find_run(names[-1], _ListedTask(self, names[:-1], units[names, is_run]))
            elif names[-1] in SECRETS:
                yield Skipped.IGNORED_FILE
            elif (doubtful := is_doubtful(names[-1], names[self._depth : -1])) is None:
                yield Skipped.OTHER_MANIFEST
            elif (found := self.examine(names, doubtful)) is not None:
                yield found

    def examine(self, names: Names, doubtful: bool) -> Finding | None:
        if names not in self._files:
            return None
        key = "/".join([*filter(None, [self._split.path.strip("/")]), *map(_quote, names[self._depth :])])
        return _find_object(self._split, key, self._files[names], doubtful=doubtful)


class _ListedTask(NamedTuple):
    """A task's folder in a listing (``walk.TaskRuns``), of which one run is to be found."""

    listing: _Listing
    folder: Names
    has_folder: bool

    def examine(self, file: str, doubtful: bool) -> Finding | None:
        return self.listing.examine((*self.folder, *file.split("/")), doubtful)

    def has_run_folder(self, _run: str) -> bool:
        return self.has_folder


def _order(unit: tuple[Names, bool]) -> tuple[list[str], bool]:
    """A sort key: the order in which a folder's files are read."""
    names, is_run = unit
    return list(map(reading_order, names)), is_run


def _group_runs(files: Iterable[Names], depth: int) -> dict[tuple[Names, bool], bool]:
    """Files, and (True) runs in roots of the orchestrator, as task and run id.

    The value: whether a run has a run folder. ``depth``: of the source.
    """
    roots = {names[:above] for names in files if (above := root_above(names)) is not None}
    units: dict[tuple[Names, bool], bool] = {}
    for names in files:
        root = (
            next((length for length in range(len(names)) if names[:length] in roots), None) if roots else None
        )
        if any(name.startswith(".") for name in _outside(names, depth, root)):
            continue
        if root is None:
            units[names, False] = False
        elif (run := run_of(names[root:])) is not None:
            unit = ((*names[: root + 1], run), True)
            units[unit] = units.get(unit, False) or names[root + 1] == CLI
    return units


def _outside(names: Names, depth: int, root: int | None) -> Names:
    """The names between a source and a root, without the root's own, which is hidden in a repository."""
    return names[depth : root - 1 if root is not None and names[root - 1] == RUNS else root]


def object_blocks(uri: str, context: Checkpoint = RunContext()) -> Iterator[bytes]:
    """The bytes of the object at a URI.

    ``context`` is checked again and again meanwhile; what it raises ends the reading. Raises
    SourceUnreadableError if the object cannot be read to its end, or changes meanwhile.
    """
    split = urlsplit(uri)
    file_system = _wait_for(lambda: _file_system(_bucket(split)), context)
    yield from read_blocks(file_system, _path(split), context)


def read_blocks(file_system: FileSystem, path: str, context: Checkpoint = RunContext()) -> Iterator[bytes]:
    """An object's bytes; repeats each request that fails. Raises like ``object_blocks``."""
    file, size, state = _retry(lambda: _open(file_system, path), context)
    with file:
        for offset in range(0, size, BLOCK):
            length = min(BLOCK, size - offset)
            block: bytes = _retry(partial(file.read_at, length, offset), context)
            if len(block) < length:
                raise SourceUnreadableError("the object is shorter than it was")
            yield block
    if size > BLOCK:  # several requests may have met several objects of this name
        again, *found = _retry(lambda: _open(file_system, path), context)
        again.close()
        if found != [size, state]:
            raise SourceUnreadableError("the object was changed while it was read")


def _open(file_system: FileSystem, path: str) -> tuple[NativeFile, int, Any]:
    """An object, its size, and what else distinguishes it from another of its name."""
    file = file_system.open_input_file(path)
    return file, file.size(), file.metadata()


def _retry(request: Callable[[], T], context: Checkpoint) -> T:
    for attempt in range(ATTEMPTS - 1):
        try:
            return _wait_for(request, context)
        except FileNotFoundError:
            break
        except (OSError, ValueError):  # ValueError: an error closed a file that was open
            time.sleep(FIRST_DELAY * 2**attempt)
    with _reword_error("the object cannot be read"):
        return _wait_for(request, context)


def _wait_for(request: Callable[[], T], context: Checkpoint) -> T:
    """Make a request in a thread: Arrow retries for minutes, and handles no signal meanwhile.

    What the context raises ends the wait; the request itself continues (``is_request_left``).
    """
    answer: Future[T] = Future()

    def make() -> None:
        try:
            answer.set_result(request())
        except BaseException as error:
            answer.set_exception(error)

    thread = threading.Thread(target=make, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise no_thread() from error
    try:
        while not wait([answer], _POLL_SECONDS).done:
            context.check()
    except BaseException:
        _left.append(thread)
        raise
    return answer.result()


_left: list[threading.Thread] = []
"""Threads of requests whose wait was ended."""


def is_request_left() -> bool:
    """Whether a request continues whose wait was ended: Arrow waits for it as the process ends."""
    return any(thread.is_alive() for thread in _left)


@contextmanager
def _reword_error(message: str) -> Iterator[None]:
    """Arrow describes a failure in one long sentence, different for each object: it becomes the detail."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise SourceUnreadableError(message, str(error)) from error


def _look_up(source: str, context: Checkpoint) -> FileInfo:
    from pyarrow.fs import FileInfo, FileType

    split = urlsplit(source)
    _check_uri(source, split)
    try:
        return _wait_for(lambda: _file_system(_bucket(split)).get_file_info(_path(split)), context)
    except FileNotFoundError:
        return FileInfo(_path(split), FileType.NotFound)
    except OSError as error:
        raise SourceUnreachableError(_name(split, split.path), str(error)) from error


def _check_uri(source: str, split: SplitResult) -> None:
    user, _, bucket = split.netloc.rpartition("@")
    if user and user != ANONYMOUS:
        raise UsageError(
            f"{split.scheme}://...@{bucket}{split.path}: a source's name is shown and kept, so keys have no"
            " place in it; the environment and the cloud's own files have"
        )
    if not split.netloc:
        raise UsageError(f"no bucket is named: {source}")
    if split.fragment:
        raise UsageError(f"# begins no key, in a URI: {source}; write %23 for it")


@lru_cache(maxsize=64)
def _file_system(bucket: str) -> FileSystem:
    """Raise UsageError for unknown options, and OSError if the storage does not answer."""
    import pyarrow as pa
    from pyarrow.fs import FileSystem

    try:
        return FileSystem.from_uri(bucket)[0]
    except (pa.ArrowException, ValueError) as error:
        raise UsageError(f"{bucket}: {error}") from None


def _bucket(split: SplitResult) -> str:
    """The URI of the whole bucket, with its options."""
    return split._replace(path="", fragment="").geturl()


def _path(split: SplitResult) -> str:
    """In Arrow's spelling, without percent signs."""
    bucket = split.netloc.rpartition("@")[2]
    return f"{bucket}/{unquote(split.path).strip('/')}".rstrip("/")


def _find_object(split: SplitResult, key: str, info: FileInfo, *, doubtful: bool = False) -> Finding:
    """``key``: quoted."""
    kind = format_of(unquote(key))
    if kind is None:
        return UnknownSuffix(describe_suffix(unquote(key)))
    path = split._replace(path=f"/{key}").geturl()
    return Source(kind, path, _name(split, key), 0, info.size, doubtful)


def _name(split: SplitResult, key: str) -> str:
    """As a person knows it: without options."""
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}/{unquote(key).strip('/')}"


def _quote(name: str) -> str:
    return quote(name, safe="")
