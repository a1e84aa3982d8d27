"""Reads sources as JSON documents by position; copies what cannot be read by position into the spool first.

The spool is a folder of the batch's own. The copy of a file that may be cached has a place there that follows
from the file's path: rows that come from the cache point into a copy that may be gone, and each process that
shares the spool finds it there, or makes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple

from ..context import Checkpoint, RunContext
from ..errors import InvalidRunError, ItemError, SourceUnreadableError, failure_of
from ..models import Failure, Keys
from ..storage.file_reader import BLOCK
from . import formats, streams, tables
from .documents import Document, json_documents, line_documents
from .formats import Format
from .object_store import is_remote, object_blocks
from .source import Source, SourceFile

_STREAMS = {
    Format.GZIP_JSON: streams.gzip_blocks,
    Format.GZIP_LINES: streams.gzip_blocks,
    Format.ZSTD_JSON: streams.zstd_blocks,
    Format.ZSTD_LINES: streams.zstd_blocks,
    Format.XZ_JSON: streams.xz_blocks,
    Format.XZ_LINES: streams.xz_blocks,
    Format.BZIP2_JSON: streams.bzip2_blocks,
    Format.BZIP2_LINES: streams.bzip2_blocks,
}
_TABLES = {Format.PARQUET: tables.parquet_batches, Format.ARROW: tables.arrow_batches}

_POLL_SECONDS = 0.05

_DEATHS = 2
"""Processes that may die while they make a copy, before nobody tries again."""


class StagedSource(NamedTuple):
    """What of a source can be read by position."""

    source: Source
    """The source itself; or its copy, as a range of the same file if the copy has its place, or else as a
    file in the spool. A copy has the lines that are whole, or a JSON text if it is whole."""
    failure: Failure | None = None
    """Why the rest could not be copied."""
    bytes_read: int = 0
    """Bytes of the source, as stored, that were read to make the copy."""


class SourceReader:
    """Reads sources for one thread.

    ``spool_dir``: where the copies are. ``checkpoint`` is checked again and again while one is made; what it
    raises ends that.
    """

    def __init__(self, keys: Keys, spool_dir: str, checkpoint: Checkpoint = RunContext()) -> None:
        self._keys = keys
        self._spool_dir = spool_dir
        self._checkpoint = checkpoint

    def stage(self, source: Source) -> StagedSource:
        """Fetch an object, and copy the documents of what cannot be read by position.

        Raises only what the checkpoint does: whatever is wrong with the source is the result's ``failure``. A
        line that a failure cuts short is not among the lines. A whole copy takes its place unless there is
        one already, which stays: there are rows that point into it.
        """
        try:
            local = self._fetch(source) if is_remote(source.path) else source
        except (OSError, ItemError) as error:
            return StagedSource(source._replace(format=Format.COPIED_LINES, stop=0), failure_of(error))
        if not local.format.is_spooled:
            return StagedSource(local)
        staged = self._copy_documents(local)
        if local is not source:  # only the copy of it will be read again
            os.unlink(local.path)
        return staged

    def _fetch(self, source: Source) -> Source:
        """Copy an object into a file in the spool, whole or not at all."""
        spool = Spool(self._spool_dir)
        try:
            with spool:
                for block in object_blocks(source.path, self._checkpoint):
                    spool.add(block)
            formats.check_size(spool.size, source.stop)
        except BaseException:
            os.unlink(spool.path)
            raise
        return source._replace(path=spool.path, stop=spool.size)

    def _copy_documents(self, source: Source) -> StagedSource:
        path, size, error = self._copy(source.file, source.stop)
        if error is not None and source.format.is_json:
            size = 0
        failure = None if error is None or _is_being_compressed(source, error, path) else failure_of(error)
        bytes_read = source.stop or size
        if path is not None and error is None and source.is_cacheable:
            with suppress(OSError):  # there is one already, or the file system has no hard links
                os.link(path, source.file.data_path(self._spool_dir))
                os.unlink(path)
                return StagedSource(source._replace(start=0, stop=size), None, bytes_read)
        copied = Format.COPIED_JSON if source.format.is_json else Format.COPIED_LINES
        copy = Source(copied, path or source.path, source.name, 0, size)
        return StagedSource(copy, failure, bytes_read)

    def documents(self, source: Source) -> Iterator[Document]:
        """The documents of a staged source; ``start`` and ``stop`` are offsets in its copy if it has one.

        Raises OSError or ItemError where the source, or the rest of it, cannot be read.
        """
        path = source.file.data_path(self._spool_dir)
        if not source.stop and (path != source.path or source.format.is_copy):
            return iter(())  # nothing was copied: there may be no file
        if source.format.is_json:
            return json_documents(path, source.stop)
        return line_documents(path, source.start, source.stop)

    @staticmethod
    def row_error(source: Source, document: bytes) -> InvalidRunError | None:
        """Why a row of a table is invalid, if its document of the staged source holds the reason."""
        is_copy = source.format.is_spooled or source.format.is_copy
        return tables.row_error(document) if is_copy else None

    def ensure_copy(self, file: SourceFile) -> None:
        """Make the copy of a file unless it is in its place; of all that ask at once, one makes it.

        Raises OSError and ItemError if the file cannot be copied to its end, or workers died while they
        tried; then there is no copy.
        """
        place = file.data_path(self._spool_dir)
        with self._hold_lock(f"{place}.lock") as attempts:
            if os.path.exists(place):
                return
            if os.fstat(attempts).st_size >= _DEATHS:
                raise SourceUnreadableError("workers died as they copied the source", file.path)
            os.write(attempts, b"x")
            path, _, error = self._copy(file)
            os.ftruncate(attempts, 0)
            if error is None and path is not None:
                os.rename(path, place)
                return
            if path is not None:
                with suppress(OSError):  # gone with the spool
                    os.unlink(path)
            raise error or FileNotFoundError(place)

    @contextmanager
    def _hold_lock(self, path: str) -> Iterator[int]:
        """Hold a lock that ends with its process; gives the descriptor of its file.

        Not a ``KernelLock``: it would recreate the folder that an ended batch has removed.
        """
        from ..locks import flock

        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, path)
                    break
                except BlockingIOError:
                    self._checkpoint.check()
                    time.sleep(_POLL_SECONDS)
            yield descriptor
        finally:
            os.close(descriptor)

    def _copy(self, file: SourceFile, expected: int = 0) -> tuple[str | None, int, Exception | None]:
        """Copy a file's documents into a new file of the spool.

        Returns its path if it could be made, the bytes of its whole lines, and what ended it early.
        ``expected``: the bytes that the source had when it was found.
        """
        path, size = None, 0
        try:
            with Spool(self._spool_dir) as spool:
                path = spool.path
                for block in self._blocks(file):
                    self._checkpoint.check()
                    start = spool.size
                    spool.add(block)
                    if b"\n" in block:
                        size = start + block.rindex(b"\n") + 1
                _check_size(file.path, expected)
                size = spool.size
        except (OSError, ItemError) as error:
            return path, size, _find_cause(error, file.path, expected)
        return path, size, None

    def _blocks(self, file: SourceFile) -> Iterator[bytes]:
        if file.format is Format.STANDARD_INPUT:
            return formats.read_text(streams.standard_input_blocks(self._checkpoint))
        if file.format not in _TABLES:
            return formats.read_text(_STREAMS[file.format](file.path))
        folders = tables.hive_columns(file.name if is_remote(file.name) else file.path)
        return tables.line_blocks(_TABLES[file.format](file.path), self._keys, folders)


def _is_being_compressed(source: Source, error: Exception, copy: str | None) -> bool:
    """The file ends early because a program is just compressing a file beside it, which is read as well.

    All that it holds so far begins that other file; otherwise something may be lost.
    """
    is_cut_short = isinstance(error, ItemError) and error.message in (streams.CUT_SHORT, streams.EMPTY)
    if not is_cut_short or not source.below or copy is None:
        return False
    try:
        with open(copy, "rb") as copied, open(os.path.splitext(source.path)[0], "rb") as plain:
            return all(plain.read(len(block)) == block for block in iter(partial(copied.read, BLOCK), b""))
    except OSError:
        return False


def _find_cause(error: Exception, source: str, expected: int) -> Exception:
    """If the source became shorter, this explains whatever else is wrong with it."""
    try:
        _check_size(source, expected)
    except (OSError, ItemError) as shorter:
        return shorter if isinstance(shorter, ItemError) else error
    return error


def _check_size(source: str, expected: int) -> None:
    if expected:
        formats.check_size(os.stat(source).st_size, expected)


class Spool:
    """A new file in the spool, filled from front to end. A context manager that closes it.

    Only its owner can read it, since the source may be private. ``add`` returns when the bytes are in the
    file; raises OSError if the file cannot be made or written. The batch removes it.
    """

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, f"spool-{secrets.token_hex(8)}")
        self.size = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self.path, flags, 0o600)

    def add(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            self._check_linked()
            while rest:
                written = os.write(self._descriptor, rest)
                rest = rest[written:]
                self.size += written
        except OSError as error:
            error.filename = self.path  # a write knows only its descriptor
            raise

    def _check_linked(self) -> None:
        """After the end of its batch the file is unlinked, and nobody would ever remove what is added."""
        if not os.fstat(self._descriptor).st_nlink:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
