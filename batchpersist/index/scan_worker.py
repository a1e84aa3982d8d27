"""What a worker does in a scan: finds the completed runs of a scan task, and where their bytes are."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import sub
from typing import TYPE_CHECKING

import msgspec

from ..arrow_tables import adopt, run_schema
from ..context import Checkpoint, RunContext
from ..contract.run_parser import RunReader
from ..errors import InvalidRunError, ItemError, failure_of
from ..models import Failure, Keys, Reject, SkippedCounts, SourceCounts
from ..sources import (
    SCAN_TASK_BYTES,
    PackedSources,
    ScanTask,
    Source,
    SourceReader,
    StagedSource,
    expand,
)

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class ScanResult:
    """What a scan task holds."""

    rows: pa.RecordBatch | None = None
    """Of the index (``arrow_tables.run_schema``), in source order; None if there are none.

    ``length`` is the document's: where an event wraps the run, the event's. ``line`` counts from 1, in a
    range from the range's first line."""
    last_source: str = ""
    """The name of the last source that was read, as a person knows it."""
    rejects: list[Reject] = field(default_factory=list)
    line_count: int = 0
    """Lines that start in the range: the parent numbers those of the next range with it."""
    is_range: bool = False
    starts_file: bool = True
    """The range, if it is one, is the first of its file."""
    other_events: int = 0
    skipped: SkippedCounts = field(default_factory=SkippedCounts)
    bytes_read: int = 0
    """Of the sources, as stored (compressed, if they are)."""
    source_counts: list[SourceCounts] = field(default_factory=list)
    """Of each source, in order."""
    remaining: list[ScanTask] = field(default_factory=list)
    """What this scan task leaves to be scanned next, in this order."""

    @classmethod
    def of_unread(cls, scan_task: ScanTask) -> ScanResult:
        """The result before any source is read."""
        return cls(
            rejects=list(scan_task.rejects),
            is_range=scan_task.is_range,
            starts_file=scan_task.starts_file,
            skipped=replace(scan_task.skipped),
        )

    @property
    def runs(self) -> int:
        return 0 if self.rows is None else int(self.rows.num_rows)


class RowColumns:
    """Collects the rows of a scan task, in source order."""

    def __init__(self) -> None:
        self._tasks: dict[str, int] = {}
        self._task = array("i")
        self._run_ids: list[str] = []
        self._timestamps: list[str] = []
        self._origins: dict[bytes, int] = {}
        self._origin = array("i")
        self._begun = 0
        """The origin of the rows that come next."""
        self._files: list[str] = []
        self._file = array("i")
        self._offsets, self._lengths, self._lines = array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self._run_ids)

    def begin(self, origin: bytes, file: str) -> None:
        """The rows from here on are of this file (``SourceFile.encode``)."""
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
        """All rows; nothing can be added after it."""
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


LONGEST_COPY = 4 * SCAN_TASK_BYTES
"""Bytes that one scan task may read of a source whose length is known only when it has been copied."""


def run_scan_task(
    scan_task: ScanTask, keys: Keys, spool_dir: str, context: Checkpoint = RunContext()
) -> ScanResult:
    """Read the sources of a scan task, in any process that sees its files (``is_local``: in this one).

    Raises nothing for what is not a completed run, or cannot be read: this is among the rejects. Copies
    sources that cannot be read by position, or are remote, into files in ``spool_dir``. A long copy remains
    as further scan tasks, and so does what a folder holds. A scan task may be run again, and then makes its
    copies again. ``context`` is checked again and again while they are made; what it raises ends the scan.
    """
    scan = _Scan(scan_task, keys, spool_dir, context)
    sources = iter(scan_task.sources)
    for source in sources:
        if source.format.is_folder:
            scan.result.remaining = list(expand(scan_task.number, chain((source,), sources)))
        elif (long := scan.read(source)) is not None:
            rest = (ScanTask(scan_task.number, PackedSources.of([source])) for source in sources)
            scan.result.remaining = [*_cut_copy(scan_task.number, long), *rest]
    return scan.finish()


def _cut_copy(number: int, staged: StagedSource) -> Iterator[ScanTask]:
    """Scan tasks for the ranges of a source's copy, and for why it ends early."""
    for part in staged.source.cut(SCAN_TASK_BYTES):
        yield ScanTask.of_range(number, part)
    if staged.failure is not None:  # an empty range: its line follows from the lines before it
        end = staged.source._replace(start=staged.source.stop)
        yield ScanTask.of_range(number, end, (Reject(end.name, 0, staged.failure),))


class _Scan:
    """The scan of one scan task."""

    def __init__(self, scan_task: ScanTask, keys: Keys, spool_dir: str, context: Checkpoint) -> None:
        self._keys = keys
        self._reader = SourceReader(keys, spool_dir, context)
        self._read_run = RunReader(keys).read
        self._rows = RowColumns()
        self.result = ScanResult.of_unread(scan_task)

    def read(self, source: Source) -> StagedSource | None:
        """Read a source; if its copy is long, return that instead, to be read in ranges."""
        before = self._counts()
        staged = StagedSource(source) if self.result.is_range else self._reader.stage(source)
        self.result.bytes_read += staged.bytes_read
        copy = staged.source
        is_long = copy is not source and not copy.format.is_json and copy.stop > LONGEST_COPY
        if not is_long:
            self._read_documents(copy, staged.failure)
        counts = SourceCounts(*map(sub, self._counts(), before))
        counts = counts._replace(is_lasting=copy.path == source.path)
        if is_long and staged.failure is not None:  # it is reported with the last of the lines
            counts = counts._replace(rejects=1)
        self.result.source_counts.append(counts)
        return staged if is_long else None

    def _read_documents(self, source: Source, failure: Failure | None) -> None:
        """``failure``: why the source ends where it does, if it should not."""
        result, line = self.result, 0
        self._rows.begin(*source.file.encode(source.below))
        try:
            for line, offset, text in self._reader.documents(source):
                if text:
                    self._read_document(source, line, offset, text)
        except (OSError, ItemError) as error:
            failure = failure_of(error)
        if failure is not None:
            result.rejects.append(Reject(source.name, line, failure))
        result.last_source, result.line_count = source.name, line
        if not source.format.is_spooled and not source.format.is_copy:
            result.bytes_read += source.stop - source.start

    def _read_document(self, source: Source, line: int, offset: int, text: bytes) -> None:
        result = self.result
        try:
            found = self._read_run(text)
        except InvalidRunError as error:
            if source.is_doubtful and _lacks_keys(text, self._keys):
                result.skipped.other_manifests += 1
            else:
                cause = self._reader.row_error(source, text) or error
                result.rejects.append(Reject(source.name, line, failure_of(cause)))
            return
        if found is None:
            result.other_events += 1
        else:
            self._rows.add(found[0], offset, len(text), line)

    def _counts(self) -> tuple[int, ...]:
        """Those of ``SourceCounts``, of all sources so far."""
        result = self.result
        others = (result.other_events, result.skipped.other_manifests, result.bytes_read)
        return len(self._rows), len(result.rejects), *others

    def finish(self) -> ScanResult:
        """All that was found; nothing can be read after it."""
        self.result.rows = self._rows.batch()
        return self.result


def _lacks_keys(text: bytes, keys: Keys) -> bool:
    """A JSON object of another schema, rather than a damaged run."""
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not {keys.task, keys.run, keys.time} <= value.keys()
