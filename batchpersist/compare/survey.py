"""The job as it is found before anything is measured: how many runs, and how much work a part of them is."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ComparisonStoppedError
from ..layout import Layout
from ..models import Event
from ..planning.plan import Plan, make_plan
from ..scanning import scan_sources
from ..scheduling.crew import Crew
from ..sources import discover
from .histories import history_size
from .options import CompareOptions
from .sampling import Cost
from .variants import Variant

if TYPE_CHECKING:
    import pyarrow as pa


class Survey:
    """The rows of the sources, and what the first so many of those that match would cost."""

    def __init__(self, index: pa.Table, options: CompareOptions, real: Layout) -> None:
        self._index = index
        self._options = options
        whole = make_plan(index, options.selection, workers=1)
        self.rows = whole.rows.num_rows
        """That match; with those that a later one supersedes."""
        self.runs = whole.selected
        self._by_task, self._by_run = _work(whole, real)

    def plan(self, rows: int) -> Plan:
        """What is done of the first ``rows`` that match."""
        return make_plan(self._index, replace(self._options.selection, limit=rows), workers=1)

    def cost(self, variant: Variant) -> Cost:
        """Of which nothing is known yet but how many bytes of snapshots so many rows write.

        A commit writes its task's snapshot whole: with one for each run, all that stood before it once more.
        """
        return Cost(self._by_run if variant.commit == "run" else self._by_task)


def survey(
    sources: Sequence[str],
    options: CompareOptions,
    spool: str,
    *,
    watch: Callable[[Event], None],
    stop: Callable[[], bool],
) -> Survey:
    """Scan the sources. Raises SourceMissingError, UsageError, ComparisonStoppedError."""
    with closing(Crew(max(options.workers))) as crew:
        index = scan_sources(discover(sources), crew, options.keys, spool, watch=watch, stop=stop)
    if index.cut_short:
        raise ComparisonStoppedError
    real = Layout(os.path.abspath(options.out_dir), os.path.abspath(options.runs_dir))
    return Survey(index.take_table(), options, real)


def _work(plan: Plan, real: Layout) -> tuple[array[int], array[int]]:
    """Bytes of snapshots that so many rows write, by their number: a commit a task, and a commit a run."""
    import pyarrow.compute as pc

    rows = plan.rows.take(pc.sort_indices(plan.rows["row"]))
    history: dict[str, int] = {}
    by_task, by_run = array("q"), array("q")
    tasks, runs = 0, 0
    for task_id, length in zip(rows["task_id"].to_pylist(), rows["length"].to_pylist(), strict=True):
        if task_id not in history:
            history[task_id] = history_size(real, task_id)
            tasks += history[task_id]
        history[task_id] += length
        tasks += length
        runs += history[task_id]
        by_task.append(tasks)
        by_run.append(runs)
    return by_task, by_run
