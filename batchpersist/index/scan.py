"""Runs a scan: hands scan tasks to workers and joins their rows into one index.

What is in the cache is not scanned: its rows are taken from there, at their place.
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
from ..models import Keys
from ..sources import Part, PieceCounts, Pieces, Reject, ScannedPart, is_spooled
from ..workers import Call, SerialExecutor, Supervisor, WorkerPool
from .builder import IndexBuilder
from .scan_worker import scan_part

if TYPE_CHECKING:
    from ..cache import Cache


class Stretch(NamedTuple):
    """A part, or some of its pieces one after the other."""

    part: Part
    known: Sequence[int] | None
    """The files that its pieces belong to, by their numbers in ``CachedSources``; None: to be scanned.

    The pieces themselves are not needed then, and may be missing."""


def scan_sources(
    parts: Iterable[Part],
    crew: WorkerPool,
    keys: Keys,
    spool_dir: str,
    context: RunContext,
    *,
    cache: Cache | None = None,
    recorder: SourceRecorder | None = None,
    wanted: Callable[[Reject], bool] = lambda _reject: True,
    memory: MemoryBound = UNBOUNDED,
) -> IndexBuilder:
    """Scan all parts, several at once where the crew has a pool, and index them in source order.

    ``context`` hears of the progress and of each invalid input; it is asked whether to stop before each
    part, and again and again while this process itself copies one; ``recorder`` collects what each held.
    Nothing is raised for bad content: that is a reject in the index, where it is ``wanted``. UsageError
    where there are more runs than ``memory`` holds.
    """
    builder = IndexBuilder(cache.rows if cache else None, wanted, memory=memory)
    recorder = SourceRecorder(lambda _batch: None) if recorder is None else recorder
    scan = _Scan(builder, crew, keys, spool_dir, context)
    if cache is not None:
        scan = replace(scan, sources=cache.sources, last_time=cache.rows.num_rows)
    for stretch, scanned in scan.results(parts):
        _record_scanned(recorder, builder.rows, stretch.part, scanned)
        for reject in builder.add(scanned):
            context.on_event(rejected(reject))
        if scan.sources is not None:
            _add_known(builder, recorder, scan.sources, stretch)
        context.on_event(Progress("scan", builder.totals.discovered, None, len(builder.rejects)))
    return builder


@dataclass(frozen=True)
class _Scan:
    """A scan under way: what it knows of the sources ends with it."""

    builder: IndexBuilder
    crew: WorkerPool
    keys: Keys
    spool_dir: str
    context: RunContext
    sources: CachedSources | None = None
    last_time: int = 0
    """Runs that there were: as many are expected where nothing can be told of a part (folders)."""
    numbers: Iterator[int] = field(default_factory=count)

    def results(self, parts: Iterable[Part]) -> Iterator[tuple[Stretch, ScannedPart]]:
        """The parts, and what they leave, in source order: what is known of their pieces, or was scanned."""
        under_way: deque[Stretch] = deque()
        calls = self._calls(parts, under_way)
        # A worker may wait for a storage that does not answer.
        supervisor = Supervisor(self.crew, calls, self.context, in_order=True, may_abandon=True)
        for scanned in supervisor:
            yield under_way.popleft(), scanned
            yield from self.results(scanned.more)
        self.builder.cut_short |= supervisor.cut_short

    def _calls(self, parts: Iterable[Part], under_way: deque[Stretch]) -> Iterator[ScanCall]:
        for part in parts:
            for stretch in _stretches(part, self.sources):
                under_way.append(stretch)
                if stretch.known is not None:
                    yield ScanCall(self, stretch.part, self.builder.rows, is_known=True)
                else:
                    likely = part.likely_runs if part.pieces.size else self.last_time
                    part_number = next(self.numbers)
                    yield ScanCall(
                        self, replace(stretch.part, number=part_number), self.builder.rows + likely
                    )


@dataclass(frozen=True, eq=False)
class ScanCall(Call[ScannedPart]):
    """Has a worker scan a part, or this process; what the cache knows is not read."""

    scan: _Scan
    part: Part
    known_runs: int
    is_known: bool = False
    """The catalogue has the part's rows: nothing is read."""

    def __str__(self) -> str:
        return f"the scan of part {self.part.number}"

    @property
    def runs(self) -> int:
        return self.known_runs

    def submit(self, crew: WorkerPool, *, sweep: bool) -> Future[ScannedPart]:
        if self.is_known:
            return SerialExecutor().submit(_nothing_scanned, self.part)
        what = self.part, self.scan.keys, self.scan.spool_dir
        if self.part.local or not crew.is_parallel(self.runs):
            return SerialExecutor().submit(scan_part, *what, self.scan.context.check)
        return crew.submit(self.runs, scan_part, *what)

    def fail(self, error: Exception) -> ScannedPart:
        if isinstance(error, ScanStoppedError):
            self.scan.builder.cut_short = True
            return _nothing_scanned(self.part)
        raise error

    def give_up(self, error: ItemError) -> ScannedPart:
        """Each of the part's pieces is invalid input then."""
        died = failure_of(WorkerDiedError("worker died while reading"))
        rejects = [Reject(piece.name, 0, died) for piece in self.part.pieces]
        return ScannedPart(
            rejects=[*self.part.rejects, *rejects], piece_counts=[PieceCounts(0, 1, 0, 0, 0)] * len(rejects)
        )


def _stretches(part: Part, sources: CachedSources | None) -> Iterator[Stretch]:
    """Cut a part where cached pieces meet others; the first stretch has the part's findings."""
    if sources is None or not part.pieces:
        yield Stretch(part, None)
        return
    found = groupby(sources.find(part.pieces), key=lambda number: number == UNKNOWN)
    groups = [(unknown, list(numbers)) for unknown, numbers in found]
    if len(groups) == 1:
        (unknown, numbers) = groups[0]
        yield Stretch(part, None if unknown else numbers)
        return
    pieces = iter(part.pieces)
    for unknown, numbers in groups:
        stretch = list(islice(pieces, len(numbers)))
        part = replace(part, pieces=Pieces.of(stretch if unknown else []))
        yield Stretch(part, None if unknown else numbers)
        part = replace(
            part, other_manifests=0, ignored_files=0, unknown_suffixes={}, incomplete=0, rejects=()
        )


def _nothing_scanned(part: Part) -> ScannedPart:
    return ScannedPart(
        rejects=list(part.rejects),
        other_manifests=part.other_manifests,
        ignored_files=part.ignored_files,
        incomplete=part.incomplete,
        unknown_suffixes=part.unknown_suffixes,
    )


def _record_scanned(recorder: SourceRecorder, first_row: int, part: Part, scanned: ScannedPart) -> None:
    if part.ranged and (not part.starts_file or any(is_spooled(piece.format) for piece in part.pieces)):
        for counts in scanned.piece_counts:
            recorder.extend(counts)
        return
    for identity, counts in zip(each_identity(part.pieces.identities), scanned.piece_counts, strict=False):
        recorder.add(identity, counts, first_row)
        first_row += counts.runs


def _add_known(
    builder: IndexBuilder, recorder: SourceRecorder, sources: CachedSources, stretch: Stretch
) -> None:
    if stretch.known is None or not stretch.part.starts_file:  # of a file's ranges, the first one counts
        return
    totals = builder.totals
    for files in sources.stretches(stretch.known):
        recorder.add_cached(files, builder.rows)
        builder.add_known(files.first_row[0], sum(files.runs))
        totals.other_events += sum(files.other_events)
        totals.other_manifests += sum(files.other_manifests)
        totals.bytes_read += sum(files.bytes_read)
        totals.cached_sources += len(files.runs)


def rejected(reject: Reject) -> RunFailed:
    """The event for invalid input."""
    return RunFailed("input", reject.failure, reject.source, reject.line, "", "")
