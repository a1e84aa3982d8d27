"""Copies of sources that cannot be read by position, as lines in the spool.

Of a file that may be cached, the copy has its place in the spool by the file's path: every process that
shares the spool finds it there, or makes it: cached rows point into a copy that may be gone.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from ..errors import ItemError, SourceUnreadableError, failure_of
from ..models import Failure, Keys
from ..storage.block_reader import BLOCK
from . import decompress, formats, tables
from .location import SourceFile
from .object_store import is_remote
from .scan_tasks import Format, Piece
from .spool import Spool
from .tables import folders_of

_STREAMS = {
    Format.GZIP_JSON: decompress.gzip_blocks,
    Format.GZIP_LINES: decompress.gzip_blocks,
    Format.ZSTD_JSON: decompress.zstd_blocks,
    Format.ZSTD_LINES: decompress.zstd_blocks,
    Format.XZ_JSON: decompress.xz_blocks,
    Format.XZ_LINES: decompress.xz_blocks,
    Format.BZIP2_JSON: decompress.bzip2_blocks,
    Format.BZIP2_LINES: decompress.bzip2_blocks,
}
_TABLES = {Format.PARQUET: tables.parquet_batches, Format.ARROW: tables.arrow_batches}

_POLL_SECONDS = 0.05

_DEATHS = 2
"""Processes that may die of making a copy, before it is given up."""


class Copy(NamedTuple):
    """What has become of a piece."""

    lines: Piece
    """All that could be copied: a piece of the same file, if the copy has its place, or else of the copy.

    Lines that are whole, or a JSON text if it is whole."""
    failure: Failure | None
    """Why the rest could not."""


def is_spooled(format: Format) -> bool:
    """A file of this format cannot be read by position, so that its documents are copied."""
    return format in _STREAMS or format in _TABLES or format is Format.STANDARD_INPUT


def is_copy(format: Format) -> bool:
    """A piece of this format is a file in the spool."""
    return format in (Format.COPIED_LINES, Format.COPIED_JSON)


def place(path: str, format: Format, spool_dir: str) -> str:
    """Where the documents of a source are to be read by position: the source itself, or its copy."""
    if not is_spooled(format):
        return path
    return os.path.join(spool_dir, f"copy-{blake2b(os.fsencode(path), digest_size=16).hexdigest()}")


def copy_lines(piece: Piece, keys: Keys, spool_dir: str, alive: Callable[[], None] = lambda: None) -> Copy:
    """Copy a piece's documents; never raises for what the piece holds.

    ``alive`` is called again and again meanwhile, and may raise an error of its own to end it.

    A line that a failure cuts short is not among the lines. A copy takes its place if it is whole, and there
    is none yet; an earlier one stays, for there are rows that point into it.
    """
    path, whole, error = _copied(
        SourceFile(piece.path, piece.name, piece.format), keys, spool_dir, alive, expected=piece.stop
    )
    if error is not None and piece.format.is_json:
        whole = 0
    failure = None if error is None or _is_being_compressed(piece, error, path) else failure_of(error)
    lasting = error is None and piece.is_cacheable
    if path is not None and lasting:
        with suppress(OSError):  # there is one already, or the file system has no such links
            os.link(path, place(piece.path, piece.format, spool_dir))
            os.unlink(path)
            return Copy(piece._replace(start=0, stop=whole), None)
    copied = Format.COPIED_JSON if piece.format.is_json else Format.COPIED_LINES
    return Copy(Piece(copied, path or piece.path, piece.name, 0, whole), failure)


def _is_being_compressed(piece: Piece, error: Exception, copy: str | None) -> bool:
    """The file ends early, since something is just making it of another one in the folder that is read, too.

    So all that it holds yet stands at the start of the other; else something may be lost.
    """
    cut_short = isinstance(error, ItemError) and error.message in (decompress.CUT_SHORT, decompress.EMPTY)
    if not cut_short or not piece.below or copy is None:
        return False
    try:
        with open(copy, "rb") as made, open(os.path.splitext(piece.path)[0], "rb") as plain:
            return all(plain.read(len(block)) == block for block in iter(partial(made.read, BLOCK), b""))
    except OSError:
        return False


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
        path, _, error = _copied(file, keys, spool_dir, alive)
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
    from ..locks import flock

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
    source: SourceFile,
    keys: Keys,
    spool_dir: str,
    alive: Callable[[], None] = lambda: None,
    expected: int = 0,
) -> tuple[str | None, int, Exception | None]:
    """A new file in the spool, if it could be made; the bytes of its whole lines; and what ended it early.

    ``expected``: the bytes that the source had when it was found.
    """
    path, whole = None, 0
    try:
        with Spool(spool_dir) as spool:
            path = spool.path
            for block in _blocks(source, keys, alive):
                alive()
                start = spool.size
                spool.add(block)
                if b"\n" in block:
                    whole = start + block.rindex(b"\n") + 1
            _check_size(source.path, expected)
            whole = spool.size
    except (OSError, ItemError) as error:
        return path, whole, _cause(error, source.path, expected)
    return path, whole, None


def _cause(error: Exception, source: str, expected: int) -> Exception:
    """That the source became shorter explains whatever else is wrong with it."""
    try:
        _check_size(source, expected)
    except (OSError, ItemError) as shorter:
        return shorter if isinstance(shorter, ItemError) else error
    return error


def _check_size(source: str, expected: int) -> None:
    if expected:
        formats.check_size(os.stat(source).st_size, expected)


def _blocks(source: SourceFile, keys: Keys, alive: Callable[[], None]) -> Iterator[bytes]:
    if source.format is Format.STANDARD_INPUT:
        return formats.checked_text(decompress.standard_input_blocks(alive))
    if source.format not in _TABLES:
        return formats.checked_text(_STREAMS[source.format](source.path))
    folders = folders_of(source.name if is_remote(source.name) else source.path)
    return tables.line_blocks(_TABLES[source.format](source.path), keys, folders)
