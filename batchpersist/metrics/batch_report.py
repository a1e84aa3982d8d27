"""What a batch returns to its caller, and the files that it writes: metrics, outcome table, monitoring."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from ..arrow_tables import as_array, compact, reject_schema, shard_schema
from ..batch_job import BatchJob
from ..context import ShouldStop
from ..errors import UsageError, failure_of
from ..exit_codes import ExitCode
from ..foreign_text import encodable, encodable_document
from ..models import Durability, Failure
from ..paths import Layout
from ..records.batch_folder import BatchFolder
from ..storage import atomic_write
from ..storage.result_files import check_output, write_output
from ..timestamps import moment_of
from .outcome_table import ShardRow
from .prometheus import Figures, write_textfile
from .schema import EndState, Metrics, metrics_text

if TYPE_CHECKING:
    import pyarrow as pa

    from ..models import Reject


@dataclass(frozen=True, repr=False)
class BatchReport:
    """What a batch did."""

    metrics: Metrics
    """The content of metrics.json (docs/metrics.md)."""
    outcomes: pa.Table
    """A row a run (docs/metrics.md)."""
    state: EndState
    defects: int
    """Shards that failed by an error of this package's own, not of their runs."""
    unwritten: list[Failure]
    """Why metrics.json, the outcome table or another file asked for could not be written, if so."""
    folder: str
    """Where the batch's own record is kept (docs/batches.md)."""

    @property
    def exit_code(self) -> ExitCode:
        """What the command exits with; an interruption's is the caller's to know."""
        if self.defects or self.unwritten:
            return ExitCode.ERROR
        if self.state == "stopped":
            return ExitCode.STOPPED
        if self.state == "timed_out":
            return ExitCode.TIMED_OUT
        return ExitCode.SOME_FAILED if self.metrics.has_failures else ExitCode.SUCCESS

    def __repr__(self) -> str:
        counts = self.metrics.counts
        figures = ", ".join(
            f"{name}={getattr(counts, name)}"
            for name in ("selected", "persisted", "unchanged", "failed", "invalid")
        )
        return f"BatchReport({self.metrics.batch_id}: {self.state}, {figures}, exit_code={self.exit_code})"


_ROWS_AT_ONCE = 1 << 15


def check_writable(job: BatchJob) -> None:
    """Raise OSError where the reports could not be written: before the work, not after it.

    Their folders are made; nothing else is left behind.
    """
    for path in filter(None, (job.metrics_path, job.outcomes_path)):
        check_output(path, job.options.durability)


def write_report(
    job: BatchJob,
    folder: BatchFolder,
    report: BatchReport,
    rejects: Sequence[Reject],
    shards: Sequence[ShardRow],
    should_stop: ShouldStop,
) -> BatchReport:
    """Write all files of a report; returns it with what could not be written (``unwritten``).

    ``rejects``: invalid input, in source order. ``shards``: in order of completion. ``should_stop`` ends the
    wait for a program that reads a pipe.
    """
    text = metrics_text(report.metrics)
    unwritten: list[Failure] = []
    with _noted(unwritten):
        write_output(job.metrics_path, (text,), should_stop)
    if (path := job.outcomes_path) is not None:
        chunks = _csv(report.outcomes) if path.endswith(".csv") else _parquet(report.outcomes)
        with _noted(unwritten):
            write_output(path, chunks, should_stop)
    if not unwritten:
        with _noted(unwritten):
            write_folder(folder, text, report.outcomes, rejects, shards)
    report = replace(report, unwritten=unwritten)
    with _noted(unwritten):
        _write_monitoring(job, report, should_stop)
    return report


@contextmanager
def _noted(failures: list[Failure]) -> Iterator[None]:
    """A file that cannot be written does not keep the others from being written."""
    try:
        yield
    except (OSError, UsageError) as error:
        failures.append(failure_of(error))


def _write_monitoring(job: BatchJob, report: BatchReport, should_stop: ShouldStop) -> None:
    path = job.textfile_path
    if path is not None:
        success = report.state == "finished" and report.exit_code == 0
        figures = figures_of(job.layout, report.metrics, success=success)
        figures.durations.add(report.outcomes)
        write_textfile(path, figures, should_stop)


def figures_of(layout: Layout, metrics: Metrics, *, success: bool) -> Figures:
    """What the monitoring is given of the metrics; the runs' durations are not in them."""
    return Figures(
        root={"runs_dir": encodable(layout.runs_dir), "shard": layout.shard},
        started=moment_of(metrics.started_at).timestamp(),
        finished=moment_of(metrics.finished_at).timestamp(),
        seconds=metrics.timing.wall_seconds,
        success=success,
        counts=asdict(metrics.counts),
        bytes=asdict(metrics.bytes),
    )


def write_folder(
    folder: BatchFolder,
    metrics: bytes,
    outcomes: pa.Table,
    rejects: Sequence[Reject],
    shards: Sequence[ShardRow],
) -> None:
    """Leave in the batch's folder what its report needs. Raises OSError."""
    import pyarrow as pa

    rows = [
        encodable_document({"source": name, "line": line, **failure._asdict()})
        for name, line, failure in rejects
    ]
    tables = {
        folder.outcomes: outcomes,
        folder.rejects: pa.Table.from_pylist(rows, schema=reject_schema()),
        folder.shards: pa.Table.from_pylist([shard._asdict() for shard in shards], schema=shard_schema()),
    }
    atomic_write.write(folder.metrics, metrics, Durability.NONE)
    for path, table in tables.items():
        write_table(table, path, Durability.NONE)


def write_table(table: pa.Table, path: str, durability: Durability) -> None:
    """Write a table as Parquet (zstd), whole or not at all; raises OSError."""
    atomic_write.write_chunks(path, _parquet(table), durability)


def _parquet(table: pa.Table) -> Iterator[bytes]:
    """A table as a Parquet file, some rows at a time: at a million of them it is not held twice."""
    import pyarrow.parquet as pq

    sink = _Pieces()
    # Of columns of which each row has its own value a dictionary would be made in vain.
    repeated = [name for name in table.column_names if _repeats(table[name])]
    with pq.ParquetWriter(sink, table.schema, compression="zstd", use_dictionary=repeated) as writer:
        for start in range(0, table.num_rows, _ROWS_AT_ONCE):
            writer.write_table(_of_its_own(table.slice(start, _ROWS_AT_ONCE)))
            yield sink.taken()
    yield sink.taken()


def _csv(table: pa.Table) -> Iterator[bytes]:
    """A table as CSV with a header, some rows at a time; null is an empty field, not quoted."""
    import pyarrow as pa
    from pyarrow import csv

    plain = pa.schema(
        [
            (field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
            for field in table.schema
        ]
    )
    sink = _Pieces()
    with csv.CSVWriter(sink, plain) as writer:
        for start in range(0, table.num_rows, _ROWS_AT_ONCE):
            writer.write_table(table.slice(start, _ROWS_AT_ONCE).cast(plain))
            yield sink.taken()
    yield sink.taken()


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether a column has a dictionary, of fewer values than rows."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type) or not column.num_chunks:
        return False
    first = column.chunk(0)
    return 2 * len(first.dictionary) <= len(first)


def _of_its_own(rows: pa.Table) -> pa.Table:
    """Some rows of a table, without what its dictionaries have for others."""
    import pyarrow as pa

    repeated = pa.dictionary(pa.int32(), pa.string())
    for number, field in enumerate(rows.schema):
        column = rows.column(number)
        if field.type == repeated and len(column.chunk(0).dictionary) > rows.num_rows:
            rows = rows.set_column(number, field, compact(as_array(column)))
    return rows


class _Pieces(io.RawIOBase):
    """A file to be written to, that gives away what it was given."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(self._pieces[-1])

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
