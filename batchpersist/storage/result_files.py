"""The files that a user names for results (docs/decisions/0023-outputs.md): one rule for all of them.

A regular file is replaced, whole or not at all; a symbolic link leads to its target; a device, a pipe or an
open descriptor (``/dev/stdout``, ``/dev/fd/N``) is written to; a folder is refused.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import select
import stat
import time
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from ..context import ShouldStop, never_stop
from ..models import Durability
from . import atomic_write
from .atomic_write import make_dirs, make_root
from .fsync import SyncGroup, open_group
from .temp_files import temporary_beside

STANDARD_OUTPUT = "/dev/stdout"

_DESCRIPTOR = re.compile(r"/(?:dev|proc/(?:self|thread-self))/fd/(\d+)")
_MOST_LINKS = 40
"""In a row, as Linux follows them."""
_POLL_SECONDS = 0.1


class ReaderMissingError(OSError):
    """Nobody has read a pipe when the caller was to stop. (InterruptedError is for the system: Python's
    buffers resume a write that ends with it.)"""


def descriptor_of(path: str) -> int | None:
    """The number of the open descriptor that ``path`` means (``/dev/stdout``: 1); None: for none.

    To open such a path again would lose the position in the file.
    """
    path = os.path.abspath(path)
    for _ in range(_MOST_LINKS):
        if found := _DESCRIPTOR.fullmatch(path):
            return int(found[1])
        try:
            path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        except OSError:
            return None
    return None


def is_stream(path: str) -> bool:
    """Whether an output of this name is written to, and not replaced: a device, a pipe or a descriptor."""
    if descriptor_of(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_output(path: str, durability: Durability = Durability.FILE) -> None:
    """Raise OSError where an output could not be written: before the work, not after it.

    Its folder is made; nothing else is left behind, and nobody who reads a pipe notices.
    """
    number = descriptor_of(path)
    if number is not None:
        with _naming(path):
            os.fstat(number)
    elif not is_stream(path):
        target = _target(path)
        make_root(os.path.dirname(target), durability)
        atomic_write.stage(target, (), SyncGroup()).discard()
    elif not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


@contextlib.contextmanager
def open_output(path: str, should_stop: ShouldStop = never_stop) -> Iterator[BinaryIO]:
    """A file to write a result to, which is complete when the block ends without an exception.

    A regular file appears then, durable, in a folder that is made where it is missing; after an exception
    what was there is unchanged. What a device or a pipe was given by then, it has. A pipe that nobody
    reads is waited for until ``should_stop``. Raises OSError, which names ``path``: ReaderMissingError where
    that ended the wait.
    """
    with open_stream(path, should_stop) if is_stream(path) else _replacing(_target(path), path) as file:
        yield file


def open_stream(path: str, should_stop: ShouldStop = never_stop) -> BinaryIO:
    """Such an output alone (``is_stream``), for as long as it is needed; raises as ``open_output`` does."""
    with _naming(path):
        raw = _RawStream(_open_for_writing(path, should_stop), "wb")
    raw.path, raw.should_stop = path, should_stop
    return io.BufferedWriter(raw)


def _open_for_writing(path: str, should_stop: ShouldStop) -> int:
    """Without O_NONBLOCK the open of a pipe waits for a reader, and is resumed after every signal."""
    if (number := descriptor_of(path)) is not None:
        return os.dup(number)
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
                raise
            if should_stop():
                raise _no_reader() from None
            time.sleep(_POLL_SECONDS)
        else:
            os.set_blocking(descriptor, True)
            return descriptor


def _no_reader() -> ReaderMissingError:
    return ReaderMissingError(errno.ECANCELED, "interrupted while it waited for a reader")


def write_output(path: str, chunks: Iterable[bytes], should_stop: ShouldStop = never_stop) -> None:
    """Write a result, given in pieces, by the same rule."""
    with open_output(path, should_stop) as file:
        file.writelines(chunks)


def _target(path: str) -> str:
    """The regular file that is replaced, or made, where ``path`` is named."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(path).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return os.path.realpath(path)


@contextlib.contextmanager
def _replacing(target: str, path: str) -> Iterator[BinaryIO]:
    folder, temporary = os.path.dirname(target), temporary_beside(target)
    with open_group(Durability.FILE, [folder], files=1) as group:
        make_dirs(folder, group)
        file = _create(temporary, path)
        try:
            with file:
                yield file
                file.flush()
                with _naming(path):
                    group.written(file.fileno())
                    status = os.fstat(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        atomic_write.commit(atomic_write.StagedFile(temporary, target, status), group)


def _create(temporary: str, path: str) -> BinaryIO:
    with _naming(path):
        raw = _Raw(temporary, "xb")
    raw.path = path
    return io.BufferedWriter(raw)


class _Raw(io.FileIO):
    """Reports errors with the name that the user gave."""

    path = ""

    def write(self, data: Any) -> int:
        with _naming(self.path):
            return super().write(data)

    def close(self) -> None:
        with _naming(self.path):
            super().close()


class _RawStream(_Raw):
    """Waits for a slow reader in a way that ``should_stop`` can end."""

    should_stop: ShouldStop

    def write(self, data: Any) -> int:
        with _naming(self.path):
            while not select.select([], [self], [], 0 if self.should_stop() else _POLL_SECONDS)[1]:
                if self.should_stop():
                    raise _no_reader()
        # A pipe that can be written to takes so much: more could block.
        return super().write(memoryview(data)[: select.PIPE_BUF])


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = path
        raise
