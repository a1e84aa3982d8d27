"""Scanning one part of the sources: which completed runs it holds, and where their bytes are."""

from __future__ import annotations

import os
from operator import sub

import msgspec

from ..errors import InvalidRunError, ItemError, failure_of
from ..memory import UNBOUNDED, MemoryBound
from ..models import Failure, Keys
from ..runs.runreader import RunReader
from ..sources import (
    PART_BYTES,
    Format,
    Part,
    Piece,
    Reject,
    copy_lines,
    fetch,
    is_remote,
    is_spooled,
    read_piece,
    unfold,
)
from .scanned import ScannedPart, Tally

__all__ = ["Reject", "ScannedPart", "Tally", "scan_part"]


LONGEST_COPY = 4 * PART_BYTES
"""Bytes that one part may hold of a source whose length shows only when it is copied."""


def scan_part(part: Part, keys: Keys, spool_dir: str, memory: MemoryBound = UNBOUNDED) -> ScannedPart:
    """Read a part, in any process that sees its files (``part.local``: in this one).

    What is not a completed run, or cannot be read, is among the rejects; nothing is raised
    for it. Sources that cannot be read by position, or lie elsewhere, are copied into files in ``spool_dir``,
    and what turns out long there is left as further parts; so is what is found in a folder.
    A part may be scanned again: the copies are made anew.
    """
    scan = _Scan(part, keys, memory)
    for number, piece in enumerate(part.pieces):
        if piece.format is Format.FOLDER:
            scan.scanned.more = list(unfold(part.number, part.pieces[number:]))
            break
        local = scan.fetched(piece, spool_dir) if is_remote(piece.path) else piece
        if local is None:
            continue
        lines, failure = local, None
        if is_spooled(local):
            lines, failure = copy_lines(local, keys, spool_dir)
            scan.scanned.bytes_read += local.stop or lines.stop
            if local is not piece:  # its lines have been copied, and are all that will be read again
                os.unlink(local.path)
        if lines is not piece and lines.format is not Format.JSON and lines.stop > LONGEST_COPY:
            scan.scanned.more = _left(part, number, lines, failure)
            break
        scan.read(lines, failure)
    return scan.scanned


def _left(part: Part, number: int, lines: Piece, failure: Failure | None) -> list[Part]:
    """Parts for the ranges of one piece's copy, for why it ends early, and for the pieces after it."""
    left = [Part(part.number, (cut,), ranged=True) for cut in lines.cut(PART_BYTES)]
    if failure is not None:  # a range of nothing: the lines before it tell its line
        end = lines._replace(start=lines.stop)
        left.append(Part(part.number, (end,), ranged=True, rejects=(Reject(lines.name, 0, failure),)))
    return left + [Part(part.number, (piece,)) for piece in part.pieces[number + 1 :]]


class _Scan:
    """One part under way."""

    def __init__(self, part: Part, keys: Keys, memory: MemoryBound) -> None:
        self._keys = keys
        self._memory = memory
        self._read_run = RunReader(keys).read
        self._task_ids: dict[str, str] = {}
        self.scanned = ScannedPart(
            rejects=list(part.rejects),
            ranged=part.ranged,
            starts_file=not part.ranged or part.pieces[0].start == 0,
            other_manifests=part.other_manifests,
            ignored_files=part.ignored_files,
        )

    def fetched(self, piece: Piece, spool_dir: str) -> Piece | None:
        """The piece's copy; None where it could not be made, which is told."""
        scanned, before = self.scanned, self.scanned.tally()
        try:
            return fetch(piece, spool_dir)
        except (OSError, ItemError) as error:
            scanned.rejects.append(Reject(piece.name, 0, failure_of(error)))
            scanned.tallies.append(Tally(*map(sub, scanned.tally(), before)))
            return None

    def read(self, piece: Piece, failure: Failure | None = None) -> None:
        """``failure``: why the piece ends where it does, if it should not."""
        scanned = self.scanned
        scanned.paths.append(piece.path)
        scanned.names.append(piece.name)
        line, before = 0, scanned.tally()
        try:
            if piece.format is Format.JSON:  # read whole
                self._check_size(piece.stop)
            for line, offset, text in read_piece(piece):
                if text:
                    self._take(piece, line, offset, text)
        except (OSError, ItemError) as error:
            failure = failure_of(error)
        if failure is not None:
            scanned.rejects.append(Reject(piece.name, line, failure))
        scanned.line_count = line
        if piece.format is not Format.COPIED_LINES:
            scanned.bytes_read += piece.stop - piece.start
        scanned.tallies.append(Tally(*map(sub, scanned.tally(), before)))

    def _take(self, piece: Piece, line: int, offset: int, text: bytes) -> None:
        scanned = self.scanned
        try:
            self._check_size(len(text))
            found = self._read_run(text)
        except InvalidRunError as error:
            if piece.doubtful and _lacks_keys(text, self._keys):
                scanned.other_manifests += 1
            else:
                scanned.rejects.append(Reject(piece.name, line, failure_of(error)))
            return
        if found is None:
            scanned.other_events += 1
            return
        task_id, run_id, timestamp = found[0]
        # One object a task: a part is pickled home, and then holds each id once.
        scanned.task_ids.append(self._task_ids.setdefault(task_id, task_id))
        scanned.run_ids.append(run_id)
        scanned.timestamps.append(timestamp)
        scanned.files.append(len(scanned.paths) - 1)
        scanned.offsets.append(offset)
        scanned.lengths.append(len(text))
        scanned.lines.append(line)

    def _check_size(self, size: int) -> None:
        if not self._memory.holds_text(size):
            raise InvalidRunError("too large for the memory that is allowed", f"{size:,} bytes")


def _lacks_keys(text: bytes, keys: Keys) -> bool:
    """A JSON object of another schema, rather than a damaged run."""
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not {keys.task, keys.run, keys.time} <= value.keys()
