"""How many runs a comparison measures: all of them, or as many as the time allows."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ..context import RunContext
from ..errors import ComparisonStoppedError, ScanStoppedError
from ..index.scan import scan_sources
from ..paths import Layout
from ..plan import Plan, make_plan
from ..sources import discover
from ..wording import rough_duration
from ..workers import WorkerPool
from .options import CompareOptions, Variant
from .scratch import history_size

if TYPE_CHECKING:
    import pyarrow as pa

FIRST = 100
"""The smallest sample, if there are so many runs: fewer tell nothing."""

STEP = 4
"""The next trial has at most so many times as many runs: a guess at many more would be just that."""

SLOWEST = 30e6
"""Bytes a second at which a snapshot is read, merged and written at least. Where it is slower, the guess
is too low and the rounds end early."""


class Sample(NamedTuple):
    """The first ``rows`` of the runs, and why these are not all of them."""

    rows: int
    rounds: int
    """How often they are done, the warm-up included."""
    reason: str | None


class Cost:
    """What a batch takes: to start, for each row, and for each byte of snapshot that it writes."""

    def __init__(self, written: Sequence[int]) -> None:
        """``written``: bytes of snapshots that 1, 2, 3 ... rows write."""
        self._written = written
        self._start = 0.0
        self._tried = 1
        self._work = 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """Learn from a trial; the first one has a single row, each further one more than the last."""
        if rows == 1:
            self._start = seconds
        else:
            self._tried, self._work = rows, max(0.0, seconds - self._start)

    def seconds(self, rows: int) -> float:
        """The seconds that so many rows take at most, as far as the last trial can tell.

        How much of its time was for bytes it cannot tell; as much as that may be is assumed, since
        bytes grow with the square of the rows where each has a commit.
        """
        tried = self._written[self._tried - 1]
        for_bytes = min(self._work, tried / SLOWEST)
        for_rows = self._work - for_bytes
        return self._start + for_rows * rows / self._tried + for_bytes * self._written[rows - 1] / tried


def choose_sample(
    available: int,
    costs: Mapping[Variant, Cost],
    rounds: Sequence[int],
    *,
    trial: Callable[[Variant, int], float],
    left: Callable[[], float],
    least: int = FIRST,
) -> Sample:
    """The largest sample whose rounds fit into the time, as far as trials can tell.

    ``rounds``: how often the sample is to be done, the best number first; fewer rounds are preferred
    to fewer runs. ``trial``: does so many runs in a variant's way, and returns the seconds that took.
    ``left``: the seconds that remain. ``least``: never fewer runs, if there are so many. Begins with
    few runs, and tries more of them only where all rounds of those would fit, so that a hopelessly
    slow variant is found out at little cost.
    """
    if available <= FIRST:
        return Sample(available, rounds[0], None)

    def learn(rows: int) -> None:
        for variant, cost in costs.items():
            cost.learn(rows, trial(variant, rows))

    def one_round(rows: int) -> float:
        return sum(cost.seconds(rows) for cost in costs.values())

    learn(1)
    tried = min(least, available)
    while True:
        learn(tried)
        seconds = left()
        if available <= STEP * tried:
            for count in rounds:
                if count * one_round(available) <= seconds:
                    return Sample(available, count, None)
        share = seconds / rounds[-1]
        fitting = bisect_right(
            range(available), share, lo=min(least, available - 1), key=lambda rows: one_round(rows + 1)
        )
        if fitting < STEP * tried:
            return Sample(fitting, rounds[-1], _reason(costs, available, fitting))
        tried *= STEP


def _reason(costs: Mapping[Variant, Cost], available: int, fitting: int) -> str:
    slowest = max(costs, key=lambda variant: costs[variant].seconds(available))
    whole = rough_duration(costs[slowest].seconds(available))
    return f"{slowest.name} would take up to {whole} for all {available:,} runs in each round"


def likely_seconds(trials: Sequence[tuple[int, float]], written: Sequence[int], rows: int) -> float:
    """What so many rows would take, by the growth that trials ``(rows, seconds)`` show.

    Fitted are seconds for each row and for each byte of snapshot, none of them negative, bytes no slower
    than ``SLOWEST``; errors count relative to the trial, lest the longest alone decide.
    """
    fewest, start = min(trials)
    least = written[fewest - 1]
    points = [
        ((count - fewest) / seconds, (written[count - 1] - least) / seconds, 1 - start / seconds)
        for count, seconds in trials
        if count > fewest and seconds > start
    ]
    if not points:
        return start * rows / fewest
    xx, xy, yy, xz, yz = (
        sum(left * right for left, right in pairs)
        for pairs in (
            [(x, x) for x, _, _ in points],
            [(x, y) for x, y, _ in points],
            [(y, y) for _, y, _ in points],
            [(x, z) for x, _, z in points],
            [(y, z) for _, y, z in points],
        )
    )
    determinant = xx * yy - xy * xy
    each_byte = (xx * yz - xy * xz) / determinant if determinant > 1e-9 * xx * yy else 0.0
    each_byte = min(max(0.0, each_byte), 1 / SLOWEST, yz / yy)
    each_row = max(0.0, (xz - each_byte * xy) / xx)
    return start + each_row * (rows - fewest) + each_byte * (written[rows - 1] - least)


class Survey:
    """The rows of the sources, and what the first so many of those that match would cost."""

    def __init__(self, index: pa.Table, options: CompareOptions, real: Layout) -> None:
        self._index = index
        self._options = options
        whole = make_plan(index, options.selection, workers=1)
        self.rows = whole.rows.num_rows
        """That match; with those that a later one replaces."""
        self.runs = whole.selected
        self._by_task, self._by_run = _work(whole, real, with_history=options.with_history)

    def plan(self, rows: int) -> Plan:
        """What is done of the first ``rows`` that match."""
        return make_plan(self._index, replace(self._options.selection, limit=rows), workers=1)

    def written(self, variant: Variant) -> Sequence[int]:
        """Bytes of snapshots that 1, 2, 3 ... rows write.

        A commit writes its task's snapshot whole: with one for each run, the whole history each time.
        """
        return self._by_run if variant.commit == "run" else self._by_task


def survey(
    sources: Sequence[str],
    options: CompareOptions,
    spool: str,
    context: RunContext,
) -> Survey:
    """Scan the sources. Raises SourceMissingError, UsageError, ComparisonStoppedError."""
    try:
        with closing(WorkerPool(max(options.workers))) as crew:
            parts = discover(sources, alive=context.check)
            index = scan_sources(parts, crew, options.keys, spool, context)
    except ScanStoppedError:
        raise ComparisonStoppedError from None
    if index.cut_short:
        raise ComparisonStoppedError
    real = Layout(os.path.abspath(options.out_dir), os.path.abspath(options.runs_dir))
    return Survey(index.take_table(), options, real)


def _work(plan: Plan, real: Layout, *, with_history: bool) -> tuple[array[int], array[int]]:
    """Bytes of snapshots that so many rows write, by their number: a commit a task, and a commit a run."""
    import pyarrow.compute as pc

    rows = plan.rows.take(pc.sort_indices(plan.rows["row"]))
    history: dict[str, int] = {}
    by_task, by_run = array("q"), array("q")
    tasks, runs = 0, 0
    for task_id, length in zip(rows["task_id"].to_pylist(), rows["length"].to_pylist(), strict=True):
        if task_id not in history:
            history[task_id] = history_size(real, task_id) if with_history else 0
            tasks += history[task_id]
        history[task_id] += length
        tasks += length
        runs += history[task_id]
        by_task.append(tasks)
        by_run.append(runs)
    return by_task, by_run
