"""Scan tasks: the sources that one worker scans in one call, cut so that each is about the same work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..models import Reject, SkippedCounts
from .formats import Format
from .object_store import is_remote
from .source import PackedSources, Source
from .walk import Finding, Skipped, UnknownSuffix

SCAN_TASK_BYTES = 8 << 20
"""Some 3,000 runs: long enough to outweigh the hand-over to a worker, short enough to balance."""

SCAN_TASK_FILES = 500

_FOLDER_FILES = 16
"""A folder counts as so many files: it may hold more, or one."""

_EXPANSION = 10
"""How much compressed sources and tables grow when they are read, about."""

_RUN_BYTES = 2500
"""Of a usual run."""

_CUT = {Format.LINES, Format.STANDARD_INPUT}
"""Formats of sources that may be long enough for scan tasks of their own."""


@dataclass(frozen=True)
class ScanTask:
    """Some of the sources, in their order, for one worker to scan."""

    number: int
    """In source order, from 0. What a scan task leaves has its number."""
    sources: PackedSources
    is_range: bool = False
    """Its only source is a range of a file: lines count from the range's own first line."""
    starts_file: bool = True
    """The range, if it is one, is the first of its file."""
    is_local: bool = False
    """Only the process that discovered it can read it."""
    skipped: SkippedCounts = field(default_factory=SkippedCounts)
    """Files that the walk skipped before or between these sources."""
    rejects: tuple[Reject, ...] = ()
    """Folders that could not be listed, and files that cannot even be named."""

    @classmethod
    def of_range(cls, number: int, source: Source, rejects: tuple[Reject, ...] = ()) -> ScanTask:
        """The scan task for a range of a file."""
        return cls(
            number, PackedSources.of([source]), is_range=True, starts_file=not source.start, rejects=rejects
        )

    @property
    def likely_runs(self) -> int:
        """How much work it is, about."""
        return self.sources.size // _RUN_BYTES


def cut_scan_tasks(
    findings: Iterable[Finding], scan_task_bytes: int, numbers: Iterator[int]
) -> Iterator[ScanTask]:
    """Scan tasks of what a walk finds: many small files in one, a large file of lines in many."""
    builder = _ScanTaskBuilder()
    for finding in findings:
        if isinstance(finding, Source) and _is_alone(finding, scan_task_bytes):
            if builder:
                yield builder.build(next(numbers))
                builder = _ScanTaskBuilder()
            yield from _cut_source(finding, scan_task_bytes, numbers)
            continue
        builder.add(finding)
        if builder.size >= scan_task_bytes or builder.files >= SCAN_TASK_FILES:
            yield builder.build(next(numbers))
            builder = _ScanTaskBuilder()
    if builder:
        yield builder.build(next(numbers))


def _is_alone(source: Source, scan_task_bytes: int) -> bool:
    return source.format in _CUT and (source.stop > scan_task_bytes or source.format is Format.STANDARD_INPUT)


def _cut_source(source: Source, scan_task_bytes: int, numbers: Iterator[int]) -> Iterator[ScanTask]:
    if source.format is Format.STANDARD_INPUT:
        yield ScanTask(next(numbers), PackedSources.of([source]), is_local=True)
        return
    if is_remote(source.path):  # the worker that fetches it leaves its ranges
        yield ScanTask(next(numbers), PackedSources.of([source]))
        return
    for part in source.cut(scan_task_bytes):
        yield ScanTask.of_range(next(numbers), part)


class _ScanTaskBuilder:
    """Collects what the next scan task holds."""

    def __init__(self) -> None:
        self.size = 0
        self.files = 0
        self._sources: list[Source] = []
        self._rejects: list[Reject] = []
        self._skipped: Counter[Skipped | UnknownSuffix] = Counter()

    def __bool__(self) -> bool:
        return bool(self._sources or self._rejects or self._skipped)

    def add(self, finding: Finding) -> None:
        if isinstance(finding, Source):
            self._sources.append(finding)
            if finding.format.is_folder:
                self.files += len(finding.names) or _FOLDER_FILES
            else:
                self.files += 1
            self.size += finding.stop * (_EXPANSION if finding.format.is_spooled else 1)
        elif isinstance(finding, Reject):
            self._rejects.append(finding)
        else:
            self._skipped[finding] += 1

    def build(self, number: int) -> ScanTask:
        suffixes = {
            found.suffix: files for found, files in self._skipped.items() if isinstance(found, UnknownSuffix)
        }
        skipped = SkippedCounts(
            other_manifests=self._skipped[Skipped.OTHER_MANIFEST],
            ignored_files=self._skipped[Skipped.IGNORED_FILE] + sum(suffixes.values()),
            incomplete=self._skipped[Skipped.INCOMPLETE],
            unknown_suffixes=suffixes,
        )
        return ScanTask(
            number, PackedSources.of(self._sources), skipped=skipped, rejects=tuple(self._rejects)
        )
