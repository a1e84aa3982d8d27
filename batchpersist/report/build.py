"""Builds the document of a report from the files of a batch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal

from ..arrow_tables import read_parquet
from ..batch.status import BatchStatus
from ..metrics import prometheus
from ..metrics.build import count_outcomes, list_causes, list_tasks
from ..metrics.outcome_table import ShardRow, iter_outcomes, read_outcomes
from ..metrics.schema import Counts, EndState, Metrics, Task
from ..wording import number
from .document import BatchDocument, FailedRun, Latency, Level, SideFailure, Verdict
from .inputs import BatchInputs
from .outcome_text import DO_THE_REST, IN_THE_FUTURE, incomplete, outcome, skipped, what_next
from .timeline import JournalProgress, build_throughput, build_workers, read_progress, shard_rows

if TYPE_CHECKING:
    import pyarrow as pa

LISTED = 1_000
"""The outcome table and ``rejects.parquet`` have all of them."""

SLOWEST = 15
"""Tasks that are listed for their time."""

SIDES: tuple[Literal["snapshot"], Literal["manifest"]] = ("snapshot", "manifest")

_PARTS = ("type", "message", "detail")

COLUMNS = (
    *("status", "task_id", "run_id", "source", "line"),
    *(f"{side}_error_{part}" for side in SIDES for part in _PARTS),
)
"""Columns of the outcome table (docs/metrics.md) that describe failed runs."""

_COLUMNS = tuple(dict.fromkeys((*prometheus.COLUMNS, *COLUMNS, "shard")))

BOUNDS = tuple(round(10 ** (step / 10), 9) for step in range(-50, 51))
"""Seconds, ten for each power of ten, from 10 microseconds to a day."""

_OPENINGS = {
    "killed": "Killed, or ended by a power cut",
    "failed": "Ended by an error of the batch as a whole",
    "interrupted": "Stopped at once",
}


def build_document(inputs: BatchInputs) -> BatchDocument:
    """Raises UsageError where a file is not what its name says, OSError."""
    document = _start_document(inputs)
    if inputs.status is not None and inputs.layout is not None:
        document.exit_code, document.host = inputs.status.record.exit_code, inputs.status.record.host
        document.runs_dir = inputs.layout.runs_dir
        if inputs.status.starts_in_the_future:
            document.notes.append(IN_THE_FUTURE)
    if inputs.outcomes is not None:
        _add_tables(document, inputs, inputs.outcomes)
    return document


def _start_document(inputs: BatchInputs) -> BatchDocument:
    if inputs.metrics is not None:
        document = document_from_metrics(inputs.metrics)
        if inputs.note is not None:
            document.notes.append(inputs.note)
        return document
    if inputs.status is not None:
        return document_from_journal(inputs.status)
    assert inputs.outcomes is not None
    return document_from_table(inputs.outcomes)


def document_from_metrics(metrics: Metrics) -> BatchDocument:
    """The document without what only the tables have."""
    document = BatchDocument(
        batch_id=metrics.batch_id,
        state=metrics.state,
        verdict=build_verdict(metrics.counts, metrics.state, {cause.type for cause in metrics.errors}),
        parts=metrics.parts,
        started_at=metrics.started_at,
        finished_at=metrics.finished_at,
        version=metrics.version,
        config=metrics.config,
        counts=metrics.counts,
        passed_over=metrics.passed_over,
        unknown_suffixes=metrics.unknown_suffixes,
        bytes=metrics.bytes,
        timing=metrics.timing,
        errors=metrics.errors,
        errors_omitted=metrics.errors_omitted,
        notes=[
            *filter(None, (incomplete(metrics.passed_over.incomplete), skipped(metrics.unknown_suffixes)))
        ],
    )
    add_tasks(document, metrics.tasks, metrics.tasks_omitted)
    return document


def is_success(metrics: Metrics) -> bool:
    """Whether the batch ended with exit code 0, by its metrics."""
    return metrics.state == "finished" and not metrics.has_failures


def document_from_table(path: str) -> BatchDocument:
    """Raises UsageError where the file is not an outcome table, OSError."""
    table = read_outcomes(path)
    counts = count_outcomes(table, discovered=table.num_rows, invalid=0, filtered=0)
    errors, errors_omitted = list_causes(table, [])
    tasks, tasks_omitted = list_tasks(table, _longest_commits(table))
    document = BatchDocument(
        batch_id=None,
        state="unknown",
        verdict=build_verdict(counts, "finished"),
        counts=counts,
        errors=errors,
        errors_omitted=errors_omitted,
        notes=["Only the outcome table is there: invalid lines, and how the batch ended, it does not tell."],
    )
    add_tasks(document, tasks, tasks_omitted)
    return document


def _longest_commits(table: pa.Table) -> dict[str, float]:
    """By task: the seconds of its longest commit.

    A batch that ran has the sum of a task's commits. The table has only each run's, and not which runs
    shared a commit: their sum would count a commit once for each of its runs.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = table.select(["task_id", "snapshot_seconds"]).filter(pc.is_valid(table["snapshot_seconds"]))
    longest = rows.group_by("task_id", use_threads=False).aggregate([("snapshot_seconds", "max")])
    tasks = longest["task_id"].cast(pa.string()).to_pylist()
    return dict(zip(tasks, longest["snapshot_seconds_max"].to_pylist(), strict=True))


def document_from_journal(status: BatchStatus) -> BatchDocument:
    """Raises OSError."""
    record, so_far = status.record, read_progress(status.folder.journal)
    return BatchDocument(
        batch_id=record.batch_id,
        state=status.state,
        verdict=_journal_verdict(status, so_far),
        parts=record.parts,
        started_at=record.started_at,
        finished_at=record.finished_at,
        version=record.version,
        config=record.config,
        throughput=build_throughput(so_far.shards),
        workers=build_workers(so_far.shards),
        notes=["The batch has left no metrics; what is shown is from its journal."],
    )


def _journal_verdict(status: BatchStatus, so_far: JournalProgress) -> Verdict:
    failed = f" ({so_far.failed:,} of them failed)" if so_far.failed else ""
    runs = f"{number(so_far.runs, 'run')} settled{failed}"
    if status.state == "running":
        return Verdict("busy", f"Running: {_describe_extent(status, runs)} so far.")
    opening = _OPENINGS.get(status.state, "Ended without metrics")
    return Verdict("bad", f"{opening}: {runs} before.", DO_THE_REST)


def _describe_extent(status: BatchStatus, runs: str) -> str:
    progress = status.progress
    if progress is not None and progress.phase == "scan":
        return f"{number(progress.done, 'run')} found"
    total = progress.total if progress is not None else None
    return runs if total is None else f"of {number(total, 'run')}, {runs}"


def build_verdict(counts: Counts, state: EndState, causes: Collection[str] = ()) -> Verdict:
    """The verdict, with the sentences that the batch itself printed at its end."""
    level: Level = "good" if state == "finished" else "warning"
    if counts.failed:
        level = "bad"
    elif counts.invalid or not (counts.selected or counts.other_shards):
        level = "warning"
    return Verdict(level, outcome(counts, state), what_next(counts, state, causes))


def add_tasks(document: BatchDocument, tasks: Sequence[Task], omitted: int) -> None:
    """Add the tasks whose snapshots took longest, the slowest first; ``omitted``: tasks beyond ``tasks``."""
    timed = [task for task in tasks if task.timing.commit_seconds is not None]
    timed.sort(key=lambda task: task.timing.commit_seconds or 0.0, reverse=True)
    document.slowest_tasks = timed[:SLOWEST]
    document.tasks = len(tasks) + omitted


def _add_tables(document: BatchDocument, inputs: BatchInputs, outcomes: str) -> None:
    """Add what only the tables have: how long runs took, which ones failed, who did what and when."""
    shards = shard_rows(read_parquet(inputs.shards)) if inputs.shards else []
    distribution, failed, split = prometheus.Distribution(BOUNDS), _FailedRuns(), _SplitTasks(shards)
    for piece in iter_outcomes(outcomes, _COLUMNS):
        for collector in (distribution, failed, split):
            collector.add(piece)
    rejects = read_parquet(inputs.rejects) if inputs.rejects else None
    document.failed_runs, document.failed_runs_omitted = failed.listed(rejects)
    document.latency, document.split_tasks = _build_latency(distribution), sorted(split.tasks)
    document.throughput, document.workers = build_throughput(shards), build_workers(shards)
    if document.parts > 1:
        document.notes.append("The batch was interrupted and continued: the times are its last part's.")


class _FailedRuns:
    """The first failed runs of an outcome table that is read in pieces, and the number of the others."""

    def __init__(self) -> None:
        self._listed: list[FailedRun] = []
        self.count = 0

    def add(self, rows: pa.Table) -> None:
        """Add rows of the outcome table, with the columns ``COLUMNS``."""
        import pyarrow as pa
        import pyarrow.compute as pc

        failed = rows.filter(pc.equal(rows["status"].cast(pa.string()), "failed"))
        self.count += failed.num_rows
        wanted = failed.slice(0, LISTED - len(self._listed))
        self._listed += map(_failed_run, wanted.to_pylist())

    def listed(self, rejects: pa.Table | None) -> tuple[list[FailedRun], int]:
        """At most ``LISTED`` failures, invalid lines (``rejects.parquet``) last; and how many more."""
        invalid: Iterable[FailedRun] = () if rejects is None else _invalid_lines(rejects)
        listed = list(islice(chain(self._listed, invalid), LISTED))
        count = self.count + (0 if rejects is None else rejects.num_rows)
        return listed, count - len(listed)


def _failed_run(row: dict[str, Any]) -> FailedRun:
    failures = [
        SideFailure(side, *(row[f"{side}_error_{part}"] for part in _PARTS))
        for side in SIDES
        if row[f"{side}_error_type"] is not None
    ]
    return FailedRun(row["task_id"], row["run_id"], row["source"], row["line"], failures)


def _invalid_lines(rejects: pa.Table) -> Iterator[FailedRun]:
    for row in rejects.slice(0, LISTED).to_pylist():
        failure = SideFailure("input", *(row[part] for part in _PARTS))
        yield FailedRun(None, None, row["source"], row["line"], [failure])


class _SplitTasks:
    """The tasks whose manifests were written in shards of their own, by all workers."""

    def __init__(self, shards: list[ShardRow]) -> None:
        self._shards = sorted({shard.number for shard in shards if shard.work == "manifest"})
        self.tasks: set[str] = set()

    def add(self, rows: pa.Table) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._shards:
            split = pc.is_in(rows["shard"], value_set=pa.array(self._shards, pa.int32()))
            self.tasks |= set(rows["task_id"].filter(split).cast(pa.string()).unique().to_pylist())


def _build_latency(distribution: prometheus.Distribution) -> Latency | None:
    """The distribution between the quickest and the slowest run: at least two bounds."""
    if not distribution.totals["pair"]:
        return None
    columns = list(zip(*distribution.counts.values(), strict=True))
    reached = [place for place, counts in enumerate(columns) if any(counts)]
    whole = [place for place, counts in enumerate(columns) if counts == tuple(distribution.totals.values())]
    first = max(min(reached, default=0) - 1, 0)
    shown = slice(first, max(min(whole, default=len(BOUNDS) - 1) + 1, first + 2))
    cut: dict[str, Any] = {name: counts[shown] for name, counts in distribution.counts.items()}
    return Latency(runs=distribution.totals["pair"], seconds=list(BOUNDS[shown]), **cut)
