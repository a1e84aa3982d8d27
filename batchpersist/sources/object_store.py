"""Sources on object storage, ``s3://`` and ``gs://`` (docs/sources.md).

An object is fetched whole into the spool by the worker that scans it, and is then read as a local file.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, quote, unquote, urlsplit

from ..contract.runs_root import CLI, RUNS, SECRETS, root_above, run_of
from ..errors import SourceUnreachableError, SourceUnreadableError, UsageError, failure_of
from ..system_limits import no_thread
from .formats import check_size, format_of, reading_order, unread_suffix
from .scan_tasks import Piece, Reject
from .spool import Spool
from .walk import Finding, Passed, UnknownSuffix, is_doubtful, look_for_run

if TYPE_CHECKING:
    from pyarrow import NativeFile
    from pyarrow.fs import FileInfo, FileSystem

T = TypeVar("T")

SCHEMES = ("s3://", "gs://")

BLOCK = 8 << 20
"""Bytes of a request: so many that its latency is outweighed."""

ATTEMPTS = 4
"""Of each request; the storage's own client has tried a few times by then."""

FIRST_DELAY = 0.2
"""Seconds before the second attempt; doubled for each further one."""

ANONYMOUS = "anonymous"

_POLL_SECONDS = 0.1


def is_remote(source: str) -> bool:
    """Whether a source, or a piece's path, is on object storage."""
    return source.startswith(SCHEMES)


def is_object_there(source: str, alive: Callable[[], None] = lambda: None) -> bool:
    """Whether there is an object, or a folder of objects, at this URI; for a person's own spelling of it.

    Raises UsageError where it is no URI, and SourceUnreachableError where the storage does not answer.
    """
    from pyarrow.fs import FileType

    return _look_up(source, alive).type is not FileType.NotFound


def is_folder(source: str, alive: Callable[[], None] = lambda: None) -> bool:
    """Whether it is no object itself, but others lie below it. Raises as ``is_object_there`` does."""
    from pyarrow.fs import FileType

    return _look_up(source, alive).type is FileType.Directory


def objects(source: str, alive: Callable[[], None] = lambda: None) -> Iterator[Finding]:
    """The object at this URI, or those below it, in the order in which a folder's files come.

    One listing, which is held in memory. A listing that fails is a reject.
    """
    split = urlsplit(source)
    if not is_folder(source, alive):
        yield _finding(split, split.path.strip("/"), _look_up(source, alive))
        return
    from pyarrow.fs import FileSelector, FileType

    base = _path(split)
    try:
        with _told("its folder cannot be listed"):
            selector = FileSelector(base, recursive=True)
            found = _answer(lambda: _file_system(_bucket(split)).get_file_info(selector), alive)
    except SourceUnreadableError as error:
        yield Reject(_name(split, split.path), 0, failure_of(error))
        return
    files = {tuple(info.path.split("/")): info for info in found if info.type is FileType.File}
    depth = base.count("/") + 1

    def look_at(names: Names, doubtful: bool) -> Finding | None:
        if names not in files:
            return None
        key = "/".join([*filter(None, [split.path.strip("/")]), *map(_quoted, names[depth:])])
        return _finding(split, key, files[names], doubtful=doubtful)

    def look_for(task: Names, run: str, has_folder: bool) -> Iterator[Finding]:
        return look_for_run(
            run, lambda file, doubtful: look_at((*task, *file.split("/")), doubtful), lambda _run: has_folder
        )

    def place(unit: tuple[tuple[Names, bool], bool]) -> tuple[list[str], bool]:
        (names, is_run), _ = unit
        return list(map(reading_order, names)), is_run

    for (names, is_run), has_folder in sorted(_units(files, depth).items(), key=place):
        if is_run:
            yield from look_for(names[:-1], names[-1], has_folder)
        elif names[-1] in SECRETS:
            yield Passed.IGNORED_FILE
        elif (doubtful := is_doubtful(names[-1], names[depth:-1])) is None:
            yield Passed.OTHER_MANIFEST
        elif (found := look_at(names, doubtful)) is not None:
            yield found


Names = tuple[str, ...]
"""The bucket, the folders in it, and a file."""


def _units(files: Iterable[Names], depth: int) -> dict[tuple[Names, bool], bool]:
    """What there is to look at: files, and (True) runs in roots of the orchestrator, as task and run id.

    For a run: whether it has a run folder. ``depth``: of the source.
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


def fetch(piece: Piece, spool_dir: str, alive: Callable[[], None] = lambda: None) -> Piece:
    """Copy an object into a file of its own, which the piece is then of.

    ``alive`` is called again and again meanwhile, and may raise an error of its own to end it.
    Raises SourceUnreadableError where it cannot be read to its end, or was changed meanwhile,
    SourceChangedError where it is shorter than in the listing, and OSError where the copy cannot be written;
    then there is none.
    """
    split = urlsplit(piece.path)
    spool = Spool(spool_dir)
    try:
        with spool:
            file_system = _answer(lambda: _file_system(_bucket(split)), alive)
            for block in read_blocks(file_system, _path(split), alive):
                spool.add(block)
        check_size(spool.size, piece.stop)
    except BaseException:
        os.unlink(spool.path)
        raise
    return piece._replace(path=spool.path, stop=spool.size)


def read_blocks(
    file_system: FileSystem, path: str, alive: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    """An object's bytes; each request is made again where it fails. Raises as ``fetch`` does."""
    file, size, state = _persistently(lambda: _opened(file_system, path), alive)
    with file:
        for offset in range(0, size, BLOCK):
            length = min(BLOCK, size - offset)
            block: bytes = _persistently(partial(file.read_at, length, offset), alive)
            if len(block) < length:
                raise SourceUnreadableError("the object is shorter than it was")
            yield block
    if size > BLOCK:  # several requests may have met several objects of this name
        again, *found = _persistently(lambda: _opened(file_system, path), alive)
        again.close()
        if found != [size, state]:
            raise SourceUnreadableError("the object was changed while it was read")


def _opened(file_system: FileSystem, path: str) -> tuple[NativeFile, int, Any]:
    """An object, its size, and what else tells it from another of its name."""
    file = file_system.open_input_file(path)
    return file, file.size(), file.metadata()


def _persistently(request: Callable[[], T], alive: Callable[[], None]) -> T:
    for attempt in range(ATTEMPTS - 1):
        try:
            return _answer(request, alive)
        except FileNotFoundError:
            break
        except (OSError, ValueError):  # one that was opened, and is closed by an error, is a ValueError
            time.sleep(FIRST_DELAY * 2**attempt)
    with _told("the object cannot be read"):
        return _answer(request, alive)


def _answer(request: Callable[[], T], alive: Callable[[], None]) -> T:
    """Make a request in a thread: Arrow waits and tries again for minutes, and hears no signal meanwhile.

    What ``alive`` raises ends the wait; the request itself goes on (``is_request_left``).
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
            alive()
    except BaseException:
        _left.append(thread)
        raise
    return answer.result()


_left: list[threading.Thread] = []
"""Of requests that nobody waits for any more."""


def is_request_left() -> bool:
    """Whether a request goes on that nobody waits for any more: Arrow waits for it as the process ends."""
    return any(thread.is_alive() for thread in _left)


@contextmanager
def _told(message: str) -> Iterator[None]:
    """Arrow words what failed in one long sentence, which differs from object to object."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise SourceUnreadableError(message, str(error)) from error


def _look_up(source: str, alive: Callable[[], None]) -> FileInfo:
    from pyarrow.fs import FileInfo, FileType

    split = urlsplit(source)
    _check(source, split)
    try:
        return _answer(lambda: _file_system(_bucket(split)).get_file_info(_path(split)), alive)
    except FileNotFoundError:
        return FileInfo(_path(split), FileType.NotFound)
    except OSError as error:
        raise SourceUnreachableError(_name(split, split.path), str(error)) from error


def _check(source: str, split: SplitResult) -> None:
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
    """Raises UsageError for options that it does not have, and OSError where the storage does not answer."""
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
    """As Arrow has it, without percent signs."""
    bucket = split.netloc.rpartition("@")[2]
    return f"{bucket}/{unquote(split.path).strip('/')}".rstrip("/")


def _finding(split: SplitResult, key: str, info: FileInfo, *, doubtful: bool = False) -> Finding:
    """``key``: quoted."""
    kind = format_of(unquote(key))
    if kind is None:
        return UnknownSuffix(unread_suffix(unquote(key)))
    path = split._replace(path=f"/{key}").geturl()
    return Piece(kind, path, _name(split, key), 0, info.size, doubtful)


def _name(split: SplitResult, key: str) -> str:
    """What a person calls it: without options."""
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}/{unquote(key).strip('/')}"


def _quoted(name: str) -> str:
    return quote(name, safe="")
