"""The index of a batch: one row a completed run, in source order, without its payload.

Columns: task_id, run_id, timestamp (strings), path (as the file system has it: bytes), source
(what a person calls it), offset, length, line (int64). What repeats is dictionary-encoded.
It stays columnar from the scan to the plan: at a million runs a Python object a row would
cost more than the runs themselves.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .columns import utf8
from .scan import Reject, ScannedPart

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class ScanTotals:
    """What a scan came across, apart from the runs themselves."""

    discovered: int = 0
    """Runs found, the invalid ones included."""
    other_events: int = 0
    other_manifests: int = 0
    ignored_files: int = 0
    bytes_read: int = 0


@dataclass
class IndexBuilder:
    """Collects scanned parts, to be added in source order, into one table."""

    totals: ScanTotals = field(default_factory=ScanTotals)
    rejects: list[Reject] = field(default_factory=list)
    rows: int = 0
    cut_short: bool = False
    """The scan was stopped before the sources' end."""
    _batches: list[pa.RecordBatch] = field(default_factory=list)
    _lines_before: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, part: ScannedPart) -> list[Reject]:
        """Take in the next part; lines it counted from its own start become lines of the file.

        Returns the part's rejects.
        """
        name = part.names[0] if part.ranged else ""
        before = 0 if part.starts_file else self._lines_before[name]
        self._batches.append(_record_batch(part, before))
        rejects = [reject._replace(line=reject.line + before) for reject in part.rejects]
        self.rejects += rejects
        if part.ranged:
            self._lines_before[name] = before + part.line_count
        self._count(part)
        return rejects

    def _count(self, part: ScannedPart) -> None:
        totals = self.totals
        self.rows += len(part.run_ids)
        totals.discovered += len(part.run_ids) + len(part.rejects)
        totals.other_events += part.other_events
        totals.other_manifests += part.other_manifests
        totals.ignored_files += part.ignored_files
        totals.bytes_read += part.bytes_read

    def table(self) -> pa.Table:
        """All rows added so far, in one piece."""
        import pyarrow as pa

        batches = [batch for batch in self._batches if batch.num_rows]
        return pa.Table.from_batches(batches, schema=_schema()).unify_dictionaries().combine_chunks()


def _schema() -> pa.Schema:
    import pyarrow as pa

    repeated = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            ("task_id", repeated),
            ("run_id", pa.string()),
            ("timestamp", pa.string()),
            ("path", pa.dictionary(pa.int32(), pa.binary())),
            ("offset", pa.int64()),
            ("length", pa.int64()),
            ("source", repeated),
            ("line", pa.int64()),
        ]
    )


def _record_batch(part: ScannedPart, lines_before: int) -> pa.RecordBatch:
    import pyarrow as pa
    import pyarrow.compute as pc

    files = pa.array(part.files, pa.int32())
    lines = pa.array(part.lines, pa.int64())
    return pa.RecordBatch.from_arrays(
        [
            pa.array(part.task_ids, pa.string()).dictionary_encode(),
            pa.array(part.run_ids, pa.string()),
            pa.array(part.timestamps, pa.string()),
            pa.DictionaryArray.from_arrays(files, pa.array(map(os.fsencode, part.paths), pa.binary())),
            pa.array(part.offsets, pa.int64()),
            pa.array(part.lengths, pa.int64()),
            pa.DictionaryArray.from_arrays(files, pa.array(map(utf8, part.names), pa.string())),
            pc.add(lines, lines_before),
        ],
        schema=_schema(),
    )
