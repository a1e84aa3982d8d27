"""Scanning one part of the sources: which completed runs it holds, and where their bytes are."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from operator import sub
from typing import NamedTuple

import msgspec

from .errors import InvalidRunError, ItemError, failure_of
from .models import Failure, Keys
from .runreader import RunReader
from .sources import PART_BYTES, Format, Part, Piece, Reject, copy_lines, is_spooled, read_piece

__all__ = ["Reject", "ScannedPart", "Tally", "scan_part"]


LONGEST_COPY = 4 * PART_BYTES
"""Bytes that one part may hold of a source whose length shows only when it is copied."""


def _integers() -> array[int]:
    return array("q")


class Tally(NamedTuple):
    """What one piece of a part holds."""

    runs: int
    rejects: int
    other_events: int
    other_manifests: int


@dataclass
class ScannedPart:
    """What a part holds. The columns have one item a run, in source order."""

    task_ids: list[str] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)
    timestamps: list[str] = field(default_factory=list)
    files: array[int] = field(default_factory=_integers)
    """Index into ``paths`` and ``names``."""
    offsets: array[int] = field(default_factory=_integers)
    lengths: array[int] = field(default_factory=_integers)
    """Of the document: where an event wraps the run, of the event."""
    lines: array[int] = field(default_factory=_integers)
    """1-based line or row; of a ranged part counted from the range's first line."""
    paths: list[str] = field(default_factory=list)
    """Files that hold the bytes, to be read by position: the source, or the spool."""
    names: list[str] = field(default_factory=list)
    """What a person calls each source."""
    rejects: list[Reject] = field(default_factory=list)
    line_count: int = 0
    """Lines that start in the range, for the parent to number those of the next."""
    ranged: bool = False
    starts_file: bool = True
    """The range, if it is one, is the first of its file."""
    other_events: int = 0
    other_manifests: int = 0
    ignored_files: int = 0
    bytes_read: int = 0
    """Of the sources, as stored (compressed, where they are)."""
    tallies: list[Tally] = field(default_factory=list)
    """Of each piece, in order."""

    more: list[Part] = field(default_factory=list)
    """What is left of the part, to be scanned next, in this order. Its first pieces were scanned."""

    def tally(self) -> Tally:
        return Tally(len(self.run_ids), len(self.rejects), self.other_events, self.other_manifests)


def scan_part(part: Part, keys: Keys, spool_dir: str) -> ScannedPart:
    """Read a part, in any process that sees its files (``part.local``: in this one).

    What is not a completed run, or cannot be read, is among the rejects; nothing is raised
    for it. Sources that cannot be read by position are copied into files in ``spool_dir``,
    and what turns out long there is left as further parts. A part may be scanned again: the
    copies are made anew.
    """
    scan = _Scan(part, keys)
    for number, piece in enumerate(part.pieces):
        if not is_spooled(piece):
            scan.read(piece)
            continue
        lines, failure = copy_lines(piece, keys, spool_dir)
        scan.scanned.bytes_read += piece.stop or lines.stop
        if lines.stop > LONGEST_COPY:
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

    def __init__(self, part: Part, keys: Keys) -> None:
        self._keys = keys
        self._read_run = RunReader(keys).read
        self._task_ids: dict[str, str] = {}
        self.scanned = ScannedPart(
            rejects=list(part.rejects),
            ranged=part.ranged,
            starts_file=not part.ranged or part.pieces[0].start == 0,
            other_manifests=part.other_manifests,
            ignored_files=part.ignored_files,
        )

    def read(self, piece: Piece, failure: Failure | None = None) -> None:
        """``failure``: why the piece ends where it does, if it should not."""
        scanned = self.scanned
        scanned.paths.append(piece.path)
        scanned.names.append(piece.name)
        line, before = 0, scanned.tally()
        try:
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


def _lacks_keys(text: bytes, keys: Keys) -> bool:
    """A JSON object of another schema, rather than a damaged run."""
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not {keys.task, keys.run, keys.time} <= value.keys()
