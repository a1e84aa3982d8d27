"""Copying sources that cannot be read by position into the spool, as lines.

A source's copy has its place in the spool by the source's path, so that every process that shares the spool
finds it, or makes it: what a catalogue knows of a source points into a copy that may not be there yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import NamedTuple

from ..errors import ItemError, failure_of
from ..models import Failure, Keys
from . import streams, tables
from .parts import Format, Piece
from .sourcefile import SourceFile
from .spool import Spool

_STREAMS = {
    Format.GZIP_LINES: streams.gzip_blocks,
    Format.ZSTD_LINES: streams.zstd_blocks,
    Format.STANDARD_INPUT: streams.standard_input_blocks,
}
_TABLES = {Format.PARQUET: tables.parquet_batches, Format.ARROW: tables.arrow_batches}

_WAIT_SECONDS = 1.0
"""For another process's copy, before a sign of life."""


class Copy(NamedTuple):
    """What has become of a piece."""

    lines: Piece
    """All that could be copied."""
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
    """Copy a piece's documents; never raises for what the piece holds. An earlier copy is replaced.

    A line that a failure cuts short is not among the lines.
    """
    path, whole, error = _copied(piece.path, piece.format, keys, spool_dir)
    final = place(piece.path, piece.format, spool_dir)
    try:
        if path is not None:
            os.rename(path, final)
    except OSError as renaming:
        whole, error = 0, renaming
    failure = None if error is None else failure_of(error)
    return Copy(Piece(Format.COPIED_LINES, final, piece.name, 0, whole), failure)


def ensure_copy(file: SourceFile, keys: Keys, spool_dir: str, alive: Callable[[], None]) -> str:
    """The place of a file's copy; where there is none yet, it is made, by one of all that ask for it at once.

    ``alive`` is called again and again meanwhile. Raises OSError and ItemError where the file cannot be
    copied to its end; then there is no copy.
    """
    final = place(file.path, file.format, spool_dir)
    with _locked(f"{final}.lock", alive):
        if not os.path.exists(final):
            path, _, error = _copied(file.path, file.format, keys, spool_dir, alive)
            if error is not None:
                if path is not None:
                    os.unlink(path)
                raise error
            assert path is not None
            os.rename(path, final)
    return final


@contextmanager
def _locked(path: str, alive: Callable[[], None]) -> Iterator[None]:
    """Hold a lock that ends with its process."""
    from filelock import FileLock, Timeout  # slow to import, seldom needed

    lock = FileLock(path)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=_WAIT_SECONDS)
        except Timeout:
            alive()
    try:
        yield
    finally:
        lock.release()


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
