"""Checks sources alone: which completed runs they hold, and what is invalid."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from ..context import OnEvent, RunContext, ShouldStop, ignore_event, never_stop
from ..exit_codes import ExitCode
from ..index.scan import reject_event, scan_sources
from ..models import DEFAULT_KEYS, Keys, Reject
from ..options import POOL_RUNS, Selection
from ..plan import make_plan
from ..sources import discover
from ..workers import WorkerPool


@dataclass(frozen=True)
class Validation:
    """What the sources hold: ``discovered`` is the sum of ``invalid``, ``filtered``, ``superseded`` and
    ``selected`` (docs/metrics.md)."""

    discovered: int
    filtered: int
    superseded: int
    selected: int
    tasks: int
    """Of the selected runs."""
    other_events: int
    other_manifests: int
    ignored_files: int
    incomplete: int
    unknown_suffixes: dict[str, int]
    """Of ``ignored_files``: how many have which suffix."""
    bytes_read: int
    rejects: list[Reject]
    """What is invalid, in source order."""
    interrupted: bool

    @property
    def invalid(self) -> int:
        return len(self.rejects)

    def causes(self) -> list[tuple[str, int]]:
        """Why, and how often; the most frequent first."""
        return Counter(reject.failure.message for reject in self.rejects).most_common()

    @property
    def is_empty(self) -> bool:
        """Whether no run was found, or none of them selected."""
        return not self.selected

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.SOME_FAILED if self.rejects else ExitCode.SUCCESS


def validate_sources(
    sources: Sequence[str],
    *,
    keys: Keys = DEFAULT_KEYS,
    selection: Selection = Selection(),
    workers: int = 1,
    pool_runs: int = POOL_RUNS,
    on_event: OnEvent = ignore_event,
    should_stop: ShouldStop = never_stop,
) -> Validation:
    """Read all of the sources as a batch would, without writing: a batch can persist what is valid here.

    There are no roots, and nothing is kept: compressed sources and tables are copied to a temporary
    folder while they are read. Raises SourceMissingError, UsageError, OSError.
    """
    context = RunContext(on_event, should_stop)
    with (
        closing(WorkerPool(workers, pool_runs)) as pool,
        tempfile.TemporaryDirectory(prefix="batchpersist-") as spool,
    ):
        index = scan_sources(discover(sources, context), pool, keys, spool, context)
    plan = make_plan(index.take_table(), selection, workers=1)
    for reject in plan.refused:
        on_event(reject_event(reject))
    totals = index.totals
    return Validation(
        discovered=totals.discovered,
        filtered=plan.filtered,
        superseded=plan.superseded,
        selected=plan.selected,
        tasks=plan.tasks,
        other_events=totals.other_events,
        other_manifests=totals.other_manifests,
        ignored_files=totals.ignored_files,
        incomplete=totals.incomplete,
        unknown_suffixes=totals.unknown_suffixes,
        bytes_read=totals.bytes_read,
        rejects=[*index.rejects, *plan.refused],
        interrupted=index.cut_short,
    )
