"""What a worker does in a scan: finds the completed runs of a scan task, and where their bytes are."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from itertools import chain
from operator import sub
from typing import TYPE_CHECKING

import msgspec

from ..arrow_tables import adopt, run_schema
from ..contract.run_parser import RunReader
from ..errors import InvalidRunError, ItemError, failure_of
from ..models import Failure, Keys
from ..sources import (
    FOLDERS,
    PART_BYTES,
    Copy,
    Part,
    Piece,
    PieceCounts,
    Pieces,
    Reject,
    ScannedPart,
    copy_lines,
    encoded_piece,
    fetch,
    is_copy,
    is_remote,
    is_spooled,
    range_part,
    read_piece,
    refusal,
    unfold,
)

if TYPE_CHECKING:
    import pyarrow as pa


class RowColumns:
    """The rows of a part as they are found, in source order."""

    def __init__(self) -> None:
        self._tasks: dict[str, int] = {}
        self._task = array("i")
        self._run_ids: list[str] = []
        self._timestamps: list[str] = []
        self._origins: dict[bytes, int] = {}
        self._origin = array("i")
        self._begun = 0
        """The origin of what comes next."""
        self._files: list[str] = []
        self._file = array("i")
        self._offsets, self._lengths, self._lines = array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self._run_ids)

    def begin(self, origin: bytes, file: str) -> None:
        """The rows from here on are of this file (``sources.SourceFile``)."""
        self._begun = self._origins.setdefault(origin, len(self._origins))
        self._files.append(file)

    def add(self, keys: tuple[str, str, str], offset: int, length: int, line: int) -> None:
        """A run; ``keys`` as in ``RunKeys``."""
        task_id, run_id, timestamp = keys
        self._task.append(self._tasks.setdefault(task_id, len(self._tasks)))
        self._run_ids.append(run_id)
        self._timestamps.append(timestamp)
        self._origin.append(self._begun)
        self._file.append(len(self._files) - 1)
        self._offsets.append(offset)
        self._lengths.append(length)
        self._lines.append(line)

    def batch(self) -> pa.RecordBatch | None:
        """All rows; add nothing after it."""
        if not self._run_ids:
            return None
        import pyarrow as pa

        tasks = pa.array(list(self._tasks), pa.string())
        origins = pa.array(list(self._origins), pa.binary())
        files = pa.array(self._files, pa.string())
        return pa.RecordBatch.from_arrays(
            [
                pa.DictionaryArray.from_arrays(adopt(self._task, pa.int32()), tasks),
                pa.array(self._run_ids, pa.string()),
                pa.array(self._timestamps, pa.string()),
                pa.DictionaryArray.from_arrays(adopt(self._origin, pa.int32()), origins),
                pa.DictionaryArray.from_arrays(adopt(self._file, pa.int32()), files),
                *(adopt(column, pa.int64()) for column in (self._offsets, self._lengths, self._lines)),
            ],
            schema=run_schema(),
        )


LONGEST_COPY = 4 * PART_BYTES
"""Bytes that one part may hold of a source whose length shows only when it is copied."""


def scan_part(
    part: Part,
    keys: Keys,
    spool_dir: str,
    alive: Callable[[], None] = lambda: None,
) -> ScannedPart:
    """Read a part, in any process that sees its files (``part.local``: in this one).

    What is not a completed run, or cannot be read, is among the rejects; nothing is raised
    for it. Sources that cannot be read by position, or lie elsewhere, are copied into files in ``spool_dir``,
    and what turns out long there is left as further parts; so is what is found in a folder.
    A part may be scanned again: the copies are made anew. ``alive`` is called again and again while they
    are made; what it raises ends the scan.
    """
    scan = _Scan(part, keys, spool_dir, alive)
    pieces = iter(part.pieces)
    for piece in pieces:
        if piece.format in FOLDERS:
            scan.scanned.more = list(unfold(part.number, chain((piece,), pieces)))
        elif (long := scan.take(piece)) is not None:
            rest = (Part(part.number, Pieces.of([piece])) for piece in pieces)
            scan.scanned.more = [*_ranges(part, *long), *rest]
    return scan.ended()


def _ranges(part: Part, lines: Piece, failure: Failure | None) -> list[Part]:
    """Parts for the ranges of a piece's copy, and for why it ends early."""
    ranges = [range_part(part.number, cut) for cut in lines.cut(PART_BYTES)]
    if failure is not None:  # a range of nothing: the lines before it tell its line
        end = lines._replace(start=lines.stop)
        ranges.append(range_part(part.number, end, (Reject(lines.name, 0, failure),)))
    return ranges


class _Scan:
    """One part under way."""

    def __init__(self, part: Part, keys: Keys, spool_dir: str, alive: Callable[[], None]) -> None:
        self._alive = alive
        self._keys = keys
        self._spool_dir = spool_dir
        self._read_run = RunReader(keys).read
        self._rows = RowColumns()
        self._lasting = True
        self.scanned = ScannedPart(
            rejects=list(part.rejects),
            ranged=part.ranged,
            starts_file=part.starts_file,
            other_manifests=part.other_manifests,
            ignored_files=part.ignored_files,
            incomplete=part.incomplete,
            unknown_suffixes=part.unknown_suffixes,
        )

    def take(self, piece: Piece) -> Copy | None:
        """Read a piece; of one that has a long copy come its lines, which have yet to be read."""
        before, self._lasting = self._counts(), True
        long = self._take(piece)
        counts = PieceCounts(*map(sub, self._counts(), before))._replace(lasting=self._lasting)
        if long is not None and long.failure is not None:  # it is told with the last of the lines
            counts = counts._replace(rejects=1)
        self.scanned.piece_counts.append(counts)
        return long

    def _take(self, piece: Piece) -> Copy | None:
        try:
            local = fetch(piece, self._spool_dir, self._alive) if is_remote(piece.path) else piece
        except (OSError, ItemError) as error:
            self.scanned.rejects.append(Reject(piece.name, 0, failure_of(error)))
            return None
        lines, failure = self._lines(piece, local)
        if lines is not piece and not lines.format.is_json and lines.stop > LONGEST_COPY:
            return Copy(lines, failure)
        self._read(lines, failure)
        return None

    def _lines(self, piece: Piece, local: Piece) -> Copy:
        """What is to be read by position: ``local``, or the copy of it that is made here."""
        if self.scanned.ranged or not is_spooled(local.format):
            return Copy(local, None)
        lines, failure = copy_lines(local, self._keys, self._spool_dir, self._alive)
        self.scanned.bytes_read += local.stop or lines.stop
        if local is not piece:  # its lines have been copied, and are all that will be read again
            os.unlink(local.path)
        self._lasting = lines.path == piece.path
        return Copy(lines, failure)

    def _read(self, piece: Piece, failure: Failure | None) -> None:
        """``failure``: why the piece ends where it does, if it should not."""
        scanned, line = self.scanned, 0
        self._rows.begin(*encoded_piece(piece))
        try:
            for line, offset, text in read_piece(piece, self._spool_dir):
                if text:
                    self._take_text(piece, line, offset, text)
        except (OSError, ItemError) as error:
            failure = failure_of(error)
        if failure is not None:
            scanned.rejects.append(Reject(piece.name, line, failure))
        scanned.source, scanned.line_count = piece.name, line
        if not is_spooled(piece.format) and not is_copy(piece.format):
            scanned.bytes_read += piece.stop - piece.start

    def _take_text(self, piece: Piece, line: int, offset: int, text: bytes) -> None:
        scanned = self.scanned
        try:
            found = self._read_run(text)
        except InvalidRunError as error:
            if piece.doubtful and _lacks_keys(text, self._keys):
                scanned.other_manifests += 1
            else:
                known = refusal(text) if is_spooled(piece.format) or is_copy(piece.format) else None
                scanned.rejects.append(Reject(piece.name, line, failure_of(known or error)))
            return
        if found is None:
            scanned.other_events += 1
        else:
            self._rows.add(found[0], offset, len(text), line)

    def _counts(self) -> tuple[int, ...]:
        """Those of a ``PieceCounts``, of all pieces so far."""
        scanned = self.scanned
        others = (scanned.other_events, scanned.other_manifests, scanned.bytes_read)
        return len(self._rows), len(scanned.rejects), *others

    def ended(self) -> ScannedPart:
        """All that was found; take nothing after it."""
        self.scanned.rows = self._rows.batch()
        return self.scanned


def _lacks_keys(text: bytes, keys: Keys) -> bool:
    """A JSON object of another schema, rather than a damaged run."""
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not {keys.task, keys.run, keys.time} <= value.keys()
