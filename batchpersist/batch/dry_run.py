"""A dry run: what a batch would do, without writing anything."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import asdict, dataclass
from enum import Enum
from functools import partial
from typing import Any

from ..batch_job import BatchJob
from ..cache import load_cache
from ..context import OnEvent, RunContext, ShouldStop, ignore_event, never_stop
from ..contract.javascript_spelling import are_alike
from ..contract.json_text import holds, nest
from ..contract.snapshot_text import ENTRY_LEVELS
from ..errors import ItemError
from ..events import Progress
from ..exit_codes import ExitCode
from ..index.scan import scan_sources
from ..models import Shard
from ..options import BatchOptions, PersistOptions
from ..paths import Layout
from ..persist import PayloadReader
from ..plan import IdCheck, Plan, ShardJob, ShardRows, make_job, make_plan
from ..records.root_record import check_keys
from ..snapshots import Baseline, History
from ..sources import discover
from ..workers import Call, Supervisor, WorkerPool


class PairState(str, Enum):
    """What a batch would find of a run, snapshot entry and manifest taken together."""

    NEW = "new"
    CHANGED = "changed"
    """One of the two is missing, or differs."""
    UNCHANGED = "unchanged"
    UNREADABLE = "unreadable"
    """The run's payload, its manifest or its task's snapshot cannot be read."""


@dataclass(frozen=True, repr=False)
class Preview:
    """What a batch would find and do."""

    discovered: int
    invalid: int
    filtered: int
    other_shards: int
    superseded: int
    selected: int
    tasks: int
    shards: int
    bytes: int
    """Of the selected runs' payloads."""
    new: int
    """Runs of which neither manifest nor snapshot entry exists."""
    changed: int
    """Runs of which one is missing or differs."""
    unchanged: int
    unreadable: int
    """Runs whose payload or snapshot cannot be read: a batch would fail them."""
    incomplete: int
    """Run folders of the orchestrator without a summary; not among the discovered ones."""
    unknown_suffixes: dict[str, int]
    """Files of folders that a batch would not read: how many have which suffix."""
    interrupted: bool

    def __repr__(self) -> str:
        found = ", ".join(f"{name}={value}" for name, value in self.as_dict().items() if value)
        return f"Preview({found})"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do, nor for other shards."""
        return not (self.selected or self.other_shards)

    @property
    def exit_code(self) -> ExitCode:
        """3 where there is something that could not be used or compared, else 0."""
        return ExitCode.SOME_FAILED if self.invalid or self.unreadable else ExitCode.SUCCESS

    def as_dict(self) -> dict[str, Any]:
        """The figures by name, for JSON."""
        return asdict(self)


def preview_batch(
    sources: Sequence[str],
    options: BatchOptions,
    *,
    on_event: OnEvent = ignore_event,
    should_stop: ShouldStop = never_stop,
) -> Preview:
    """Scan ``sources``, plan, and compare with the files below the roots; writes nothing there.

    Takes no lock: beside a batch or the orchestrator the answer is of the moment. Raises
    SourceMissingError and UsageError.
    """
    job = BatchJob(options, sources)
    job.check_paths()
    layout = job.layout
    check_keys(layout, options.keys)
    context = RunContext(on_event, should_stop)
    with (
        closing(WorkerPool(options.workers, options.pool_runs)) as pool,
        tempfile.TemporaryDirectory() as spool,
    ):
        cache = load_cache(layout, options.keys) if job.reads_cache else None
        index = scan_sources(
            discover(job.sources, context),
            pool,
            options.keys,
            spool,
            context,
            cache=cache,
            memory=job.memory_bound,
        )
        rows, workers = index.take_table(), pool.parallelism(index.rows)
        planned = partial(
            make_plan,
            rows,
            options.selection,
            workers=workers,
            partition=options.partition,
            memory=job.memory_bound,
            id_check=IdCheck(layout, job.own_paths),
        )
        plan = planned(split_tasks=options.commit == "task")
        # Compared task by task: each snapshot is read once, also that of a task which a batch splits.
        whole = planned(split_tasks=False)
        counts: Counter[PairState] = Counter()
        persisting = job.persist_options(spool)
        comparisons = (_Comparison(whole, persisting, shard) for shard in whole.shards)
        for found in Supervisor(pool, comparisons, context):
            counts += found
            on_event(Progress("compare", counts.total(), plan.selected, counts[PairState.UNREADABLE]))
    return Preview(
        discovered=index.totals.discovered,
        invalid=len(index.rejects) + len(plan.refused),
        filtered=plan.filtered,
        other_shards=plan.other_shards,
        superseded=plan.superseded,
        selected=plan.selected,
        tasks=plan.tasks,
        shards=len(plan.shards),
        bytes=plan.size,
        new=counts[PairState.NEW],
        changed=counts[PairState.CHANGED],
        unchanged=counts[PairState.UNCHANGED],
        unreadable=counts[PairState.UNREADABLE],
        incomplete=index.totals.incomplete,
        unknown_suffixes=index.totals.unknown_suffixes,
        interrupted=should_stop(),
    )


@dataclass(frozen=True, eq=False)
class _Comparison(Call[Counter[PairState]]):
    """Has a worker compare a shard."""

    plan: Plan
    options: PersistOptions
    shard: Shard

    def __str__(self) -> str:
        return f"the comparison of shard {self.shard.number}"

    @property
    def runs(self) -> int:
        return int(self.plan.rows.num_rows)

    def submit(self, pool: WorkerPool, *, sweep: bool) -> Future[Counter[PairState]]:
        return pool.submit(self.runs, compare_shard, make_job(self.plan.rows, self.shard), self.options)

    def give_up(self, error: ItemError) -> Counter[PairState]:
        rows = self.plan.rows.slice(self.shard.start, self.shard.stop - self.shard.start)
        return Counter({PairState.UNREADABLE: rows["superseded"].to_pylist().count(False)})


def compare_shard(job: ShardJob, options: PersistOptions) -> Counter[PairState]:
    """What a worker does: count a shard's runs by state, without the superseded ones. Writes nothing."""
    counts: Counter[PairState] = Counter()
    with PayloadReader(options.keys, options.spool) as reader:
        refs = job.rows()
        for task_id, span in refs.tasks(range(len(refs))):
            rows = [row for row in span if not refs.is_superseded(row)]
            counts.update(_compare_task(task_id, rows, refs, reader, options))
    return counts


def _compare_task(
    task_id: str, rows: Sequence[int], refs: ShardRows, reader: PayloadReader, options: PersistOptions
) -> Counter[PairState]:
    layout = options.layout
    with closing(Baseline()) as baseline:
        try:
            history = baseline.load(layout, task_id, options.keys)
        except (ItemError, OSError):
            return Counter({PairState.UNREADABLE: len(rows)})
        entries = {run_id: entry for entry, (run_id, _) in enumerate(history.keys)}
        found = ((row, entries.get(refs.run_ids[row])) for row in rows)
        return Counter(_compare_run(refs, row, entry, history, reader, layout) for row, entry in found)


def _compare_run(
    refs: ShardRows, row: int, entry: int | None, history: History, reader: PayloadReader, layout: Layout
) -> PairState:
    keys = refs.keys(row)
    try:
        text = reader.text(keys, *refs.location(row))
        manifest = _read(layout.manifest(keys.task_id, keys.run_id))
    except (ItemError, OSError):
        return PairState.UNREADABLE
    if entry is None and manifest is None:
        return PairState.NEW
    if entry is None or manifest is None:
        return PairState.CHANGED
    same = are_alike(history.text(entry), nest(text, ENTRY_LEVELS)) and holds(manifest, text)
    return PairState.UNCHANGED if same else PairState.CHANGED


def _read(path: str) -> bytes | None:
    """None where there is no file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
