"""Copying sources that cannot be read by position into the spool, as lines.

Of a file that a catalogue may know, the copy has its place in the spool by the file's path: every process
that shares the spool finds it there, or makes it: what a catalogue knows points into a copy that may be gone.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from typing import NamedTuple

from ..errors import ItemError, SourceUnreadableError, failure_of
from ..models import Failure, Keys
from ..stamps import NO_STAMP
from . import streams, tables
from .pieces import Format, Piece
from .sourcefile import SourceFile
from .spool import Spool

_STREAMS = {
    Format.GZIP_LINES: streams.gzip_blocks,
    Format.ZSTD_LINES: streams.zstd_blocks,
    Format.STANDARD_INPUT: streams.standard_input_blocks,
}
_TABLES = {Format.PARQUET: tables.parquet_batches, Format.ARROW: tables.arrow_batches}

_POLL_SECONDS = 0.05

_DEATHS = 2
"""Processes that may die of making a copy, before it is given up."""


class Copy(NamedTuple):
    """What has become of a piece."""

    lines: Piece
    """All that could be copied: a piece of the same file, if the copy has its place, or else of the copy."""
    failure: Failure | None
    """Why the rest could not."""


def is_spooled(format: Format) -> bool:
    """A file of this format cannot be read by position, so that its documents are copied."""
    return format in _STREAMS or format in _TABLES


def place(path: str, format: Format, spool_dir: str) -> str:
    """Where the documents of a source are to be read by position: the source itself, or its copy."""
    if not is_spooled(format):
        return path
    return os.path.join(spool_dir, f"copy-{blake2b(os.fsencode(path), digest_size=16).hexdigest()}")


def copy_lines(piece: Piece, keys: Keys, spool_dir: str) -> Copy:
    """Copy a piece's documents; never raises for what the piece holds.

    A line that a failure cuts short is not among the lines. A copy takes its place if it is whole, and there
    is none yet; an earlier one stays, for there are rows that point into it.
    """
    path, whole, error = _copied(piece.path, piece.format, keys, spool_dir)
    failure = None if error is None else failure_of(error)
    if path is not None and failure is None and piece.identity != NO_STAMP:
        with suppress(OSError):  # there is one already, or the file system has no such links
            os.link(path, place(piece.path, piece.format, spool_dir))
            os.unlink(path)
            return Copy(piece._replace(start=0, stop=whole), None)
    return Copy(Piece(Format.COPIED_LINES, path or piece.path, piece.name, 0, whole), failure)


def ensure_copy(file: SourceFile, keys: Keys, spool_dir: str, alive: Callable[[], None]) -> None:
    """Make the copy of a file where there is none in its place; one of all that ask for it at once does.

    ``alive`` is called again and again meanwhile. Raises OSError and ItemError where the file cannot be
    copied to its end, or processes have died of that; then there is no copy.
    """
    final = place(file.path, file.format, spool_dir)
    with _locked(f"{final}.lock", alive) as begun:
        if os.path.exists(final):
            return
        if os.fstat(begun).st_size >= _DEATHS:
            raise SourceUnreadableError("workers died as they copied the source", file.path)
        os.write(begun, b"x")
        path, _, error = _copied(file.path, file.format, keys, spool_dir, alive)
        os.ftruncate(begun, 0)
        if error is None and path is not None:
            os.rename(path, final)
            return
        if path is not None:
            with suppress(OSError):  # gone with the spool
                os.unlink(path)
        raise error or FileNotFoundError(final)


@contextmanager
def _locked(path: str, alive: Callable[[], None]) -> Iterator[int]:
    """Hold a lock that ends with its process; gives the file's descriptor.

    Not a ``KernelLock``: that makes the folder again which an ended batch has removed.
    """
    from ..locking.kernellock import flock  # slow to import, seldom needed

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, path)
                break
            except BlockingIOError:
                alive()
                time.sleep(_POLL_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)


def _copied(
    source: str, format: Format, keys: Keys, spool_dir: str, alive: Callable[[], None] = lambda: None
) -> tuple[str | None, int, Exception | None]:
    """A new file in the spool, if it could be made; the bytes of its whole lines; and what ended it early."""
    path, whole = None, 0
    try:
        with Spool(spool_dir) as spool:
            path = spool.path
            for block in _blocks(source, format, keys):
                alive()
                start = spool.size
                spool.add(block)
                if b"\n" in block:
                    whole = start + block.rindex(b"\n") + 1
            whole = spool.size
    except (OSError, ItemError) as error:
        return path, whole, error
    return path, whole, None


def _blocks(source: str, format: Format, keys: Keys) -> Iterator[bytes]:
    if format in _TABLES:
        return tables.line_blocks(_TABLES[format](source), keys)
    return _STREAMS[format](source)
