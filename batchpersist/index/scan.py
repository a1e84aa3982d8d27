"""Runs a scan: hands scan tasks to workers and joins their rows into one index.

What the cache knows is not scanned: its rows come from there, in source order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import count, groupby, islice
from typing import TYPE_CHECKING, NamedTuple

from ..cache import UNKNOWN, CachedSources, SourceRecorder, each_identity
from ..context import RunContext
from ..errors import ItemError, ScanStoppedError, WorkerDiedError, failure_of
from ..events import Progress, RunFailed
from ..memory_limit import UNBOUNDED, MemoryBound
from ..models import Keys, Reject, SkippedCounts, SourceCounts
from ..sources import PackedSources, ScanTask
from ..workers import Call, SerialExecutor, Supervisor, WorkerPool
from .builder import IndexBuilder
from .scan_worker import ScanResult, run_scan_task

if TYPE_CHECKING:
    from ..cache import Cache


class Stretch(NamedTuple):
    """Consecutive sources of a scan task that the cache knows, or does not know."""

    scan_task: ScanTask
    known: Sequence[int] | None
    """The files that its sources belong to, by their numbers in ``CachedSources``; None: they are scanned.

    Known sources themselves are not needed, and may be missing."""


def scan_sources(
    scan_tasks: Iterable[ScanTask],
    pool: WorkerPool,
    keys: Keys,
    spool_dir: str,
    context: RunContext,
    *,
    cache: Cache | None = None,
    recorder: SourceRecorder | None = None,
    wanted: Callable[[Reject], bool] = lambda _reject: True,
    memory: MemoryBound = UNBOUNDED,
) -> IndexBuilder:
    """Run all scan tasks, several at once if the pool has processes, and index their runs in source order.

    ``context`` gets the progress and each invalid input; it is asked whether to stop before each scan task,
    and again and again while this process itself copies a source. ``recorder`` collects what each source
    held. Raises nothing for bad content: this is a reject of the index if it is ``wanted``. Raises UsageError
    if there are more runs than fit in ``memory``.
    """
    builder = IndexBuilder(cache.rows if cache else None, wanted, memory=memory)
    recorder = SourceRecorder(lambda _batch: None) if recorder is None else recorder
    scan = _Scan(builder, pool, keys, spool_dir, context)
    if cache is not None:
        scan = replace(scan, sources=cache.sources, cached_runs=cache.rows.num_rows)
    for stretch, result in scan.run(scan_tasks):
        _record(recorder, builder.rows, stretch.scan_task, result)
        for reject in builder.add(result):
            context.on_event(reject_event(reject))
        if scan.sources is not None:
            _add_known(builder, recorder, scan.sources, stretch)
        context.on_event(Progress("scan", builder.totals.discovered, None, len(builder.rejects)))
    return builder


@dataclass(frozen=True)
class _Scan:
    """One scan."""

    builder: IndexBuilder
    pool: WorkerPool
    keys: Keys
    spool_dir: str
    context: RunContext
    sources: CachedSources | None = None
    cached_runs: int = 0
    """As many runs are expected of a scan task whose size is not known (folders)."""
    numbers: Iterator[int] = field(default_factory=count)

    def run(self, scan_tasks: Iterable[ScanTask]) -> Iterator[tuple[Stretch, ScanResult]]:
        """The stretches of the scan tasks and of those that they leave, in source order, with results."""
        submitted: deque[Stretch] = deque()
        calls = self._calls(scan_tasks, submitted)
        # A worker may wait for a storage that does not answer.
        supervisor = Supervisor(self.pool, calls, self.context, in_order=True, may_abandon=True)
        for result in supervisor:
            yield submitted.popleft(), result
            yield from self.run(result.remaining)
        self.builder.cut_short |= supervisor.cut_short

    def _calls(self, scan_tasks: Iterable[ScanTask], submitted: deque[Stretch]) -> Iterator[ScanCall]:
        for scan_task in scan_tasks:
            for stretch in _cut_stretches(scan_task, self.sources):
                submitted.append(stretch)
                if stretch.known is not None:
                    yield ScanCall(self, stretch.scan_task, self.builder.rows, is_known=True)
                else:
                    likely = scan_task.likely_runs if scan_task.sources.size else self.cached_runs
                    numbered = replace(stretch.scan_task, number=next(self.numbers))
                    yield ScanCall(self, numbered, self.builder.rows + likely)


@dataclass(frozen=True, eq=False)
class ScanCall(Call[ScanResult]):
    """Has a worker run a scan task, or this process; what the cache knows is not read."""

    scan: _Scan
    scan_task: ScanTask
    known_runs: int
    is_known: bool = False
    """The cache has the rows of its sources."""

    def __str__(self) -> str:
        return f"scan task {self.scan_task.number}"

    @property
    def runs(self) -> int:
        return self.known_runs

    def submit(self, pool: WorkerPool, *, sweep: bool) -> Future[ScanResult]:
        if self.is_known:
            return SerialExecutor().submit(ScanResult.of_unread, self.scan_task)
        arguments = self.scan_task, self.scan.keys, self.scan.spool_dir
        if self.scan_task.is_local or not pool.is_parallel(self.runs):
            return SerialExecutor().submit(run_scan_task, *arguments, self.scan.context)
        return pool.submit(self.runs, run_scan_task, *arguments)

    def fail(self, error: Exception) -> ScanResult:
        if isinstance(error, ScanStoppedError):
            self.scan.builder.cut_short = True
            return ScanResult.of_unread(self.scan_task)
        raise error

    def give_up(self, error: ItemError) -> ScanResult:
        """Each source of the scan task is invalid input."""
        died = failure_of(WorkerDiedError("worker died while reading"))
        rejects = [Reject(source.name, 0, died) for source in self.scan_task.sources]
        return ScanResult(
            rejects=[*self.scan_task.rejects, *rejects],
            source_counts=[SourceCounts(0, 1, 0, 0, 0)] * len(rejects),
        )


def _cut_stretches(scan_task: ScanTask, cached: CachedSources | None) -> Iterator[Stretch]:
    """Cut a scan task where the cache's knowledge begins and ends; the first has what the walk skipped."""
    if cached is None or not scan_task.sources:
        yield Stretch(scan_task, None)
        return
    found = groupby(cached.find(scan_task.sources), key=lambda number: number == UNKNOWN)
    groups = [(is_unknown, list(numbers)) for is_unknown, numbers in found]
    if len(groups) == 1:
        (is_unknown, numbers) = groups[0]
        yield Stretch(scan_task, None if is_unknown else numbers)
        return
    sources = iter(scan_task.sources)
    for is_unknown, numbers in groups:
        group = list(islice(sources, len(numbers)))
        scan_task = replace(scan_task, sources=PackedSources.of(group if is_unknown else []))
        yield Stretch(scan_task, None if is_unknown else numbers)
        scan_task = replace(scan_task, skipped=SkippedCounts(), rejects=())


def _record(recorder: SourceRecorder, first_row: int, scan_task: ScanTask, result: ScanResult) -> None:
    """Record what each source held; the first range of a file makes its entry, the others extend it."""
    if scan_task.is_range and (
        not scan_task.starts_file or any(source.format.is_spooled for source in scan_task.sources)
    ):
        for counts in result.source_counts:
            recorder.extend(counts)
        return
    identities = each_identity(scan_task.sources.identities)
    for identity, counts in zip(identities, result.source_counts, strict=False):
        recorder.add(identity, counts, first_row)
        first_row += counts.runs


def _add_known(
    builder: IndexBuilder, recorder: SourceRecorder, sources: CachedSources, stretch: Stretch
) -> None:
    if (
        stretch.known is None or not stretch.scan_task.starts_file
    ):  # the first of a file's ranges has its rows
        return
    totals = builder.totals
    for files in sources.stretches(stretch.known):
        recorder.add_cached(files, builder.rows)
        builder.add_known(files.first_row[0], sum(files.runs))
        totals.other_events += sum(files.other_events)
        totals.other_manifests += sum(files.other_manifests)
        totals.bytes_read += sum(files.bytes_read)
        totals.cached_sources += len(files.runs)


def reject_event(reject: Reject) -> RunFailed:
    """The event for invalid input."""
    return RunFailed("input", reject.failure, reject.source, reject.line, "", "")
