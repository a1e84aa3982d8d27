"""Makes a plan: which runs are persisted, in which order, in which shards.

It reads the index and, for ids that collide, the names in the two roots; it writes nothing. Rows are grouped
by task (source order is kept within a task, so that the snapshot's history is as if recorded one by one) and
cut into shards, each a contiguous range of rows. Two shards never commit the same task: a batch
does not contend with itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..arrow_tables import adopt, as_array, columns_of, compact, plan_schema
from ..memory_limit import UNBOUNDED, MemoryBound, release_memory
from ..models import Reject, Shard
from ..options import Selection
from ..partition import Partition
from .id_collisions import IdCheck
from .selection import of_tasks, reject_timeless, select
from .sharding import KNOWN_SHARDS, SHARD_RUNS, TaskRows, cut_shards, shard_bounds, shard_runs

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Plan:
    """Rows in the order in which they are persisted (``arrow_tables.plan_schema``), and their shards."""

    rows: pa.Table
    shards: list[Shard]
    """Largest first."""
    filtered: int
    other_shards: int
    """Rows of tasks that are other shards' (``Partition``), whether selected or not."""
    refused: list[Reject]
    """What is in no row: its ids would be confused with others, or its time cannot be read."""
    superseded: int
    tasks: int
    size: int
    """Payload bytes of all rows."""

    def task_of(self, row: int) -> str:
        return str(self.rows["task_id"][row].as_py())

    def task_stop(self, row: int) -> int:
        """The row behind the last one of a row's task."""
        task_id, stop = self.task_of(row), row + 1
        while stop < self.rows.num_rows and self.task_of(stop) == task_id:
            stop += 1
        return stop

    @property
    def selected(self) -> int:
        return int(self.rows.num_rows) - self.superseded


def make_plan(
    index: pa.Table | Callable[[], pa.Table],
    selection: Selection,
    *,
    workers: int,
    partition: Partition | None = None,
    id_check: IdCheck | None = None,
    split_tasks: bool = True,
    most_runs: int = SHARD_RUNS,
    wanted: Callable[[pa.Table], pa.Array] | None = None,
    memory: MemoryBound = UNBOUNDED,
) -> Plan:
    """Select from the index, mark what a later row supersedes, and cut into shards.

    ``index``: a function that keeps no reference spares memory: the index is not held twice while it is
    sorted. ``wanted``: returns for each row whether it can be selected at all; None: all can. ``partition``:
    the tasks to persist; all partitions together select what is selected without one. ``id_check``: refuses
    ids; None: all are kept. ``split_tasks=False`` keeps a hot task in one shard (one worker makes a commit
    for each run, in order). ``most_runs``: of a shard, unless one task has more. Raises UsageError if a task
    has more runs than fit in ``memory``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = index() if callable(index) else index
    del index
    found = rows.num_rows
    rows = rows.append_column("row", adopt(array("i", range(found)), pa.int32()))
    others = 0 if partition is None else found - _rows_of_partition(rows, partition).num_rows
    if wanted is not None:
        rows = rows.filter(wanted(rows))
    rows, timeless = select(rows, selection)
    rows, collisions = (rows, []) if id_check is None else id_check.split(rows)
    if partition is not None:
        rows, timeless = _rows_of_partition(rows, partition), _rows_of_partition(timeless, partition)
    refused = [reject for task_id, reject in collisions if partition is None or partition.owns(task_id)]
    refused += reject_timeless(timeless)
    order, tasks = _by_task(rows)
    columns = columns_of(rows)
    del rows
    rows = _mark_superseded(_take_columns(columns, order), tasks)
    scale = _shard_scale(rows)
    most = shard_bounds(shard_runs(rows.num_rows // scale, workers, most_runs), scale, memory)
    largest = max(tasks, key=lambda task: task.runs, default=None)
    if largest is not None:
        memory.check_task(rows["task_id"][largest.start].as_py(), largest.runs, rows.nbytes)
    shards = sorted(cut_shards(tasks, most, split_tasks), key=lambda shard: -shard.size)
    superseded = pc.sum(rows["superseded"]).as_py() or 0
    return Plan(
        rows=_add_empty_columns(rows),
        shards=[shard._replace(number=number) for number, shard in enumerate(shards)],
        filtered=found - others - rows.num_rows - len(refused),
        refused=refused,
        other_shards=others,
        superseded=superseded,
        tasks=len(tasks),
        size=sum(task.size for task in tasks),
    )


def _shard_scale(rows: pa.Table) -> int:
    """How many times as large as usual the shards are."""
    known = rows.num_rows - rows["known"].null_count
    return KNOWN_SHARDS if known > 0.9 * rows.num_rows else 1


def _rows_of_partition(rows: pa.Table, partition: Partition) -> pa.Table:
    return of_tasks(rows, partition.owns)


def _mark_superseded(rows: pa.Table, tasks: Sequence[TaskRows]) -> pa.Table:
    """Add the column ``superseded``: True where the same task and run come again later.

    Some tasks at a time: grouping all rows at once would take more memory than they do.
    """
    import pyarrow as pa

    marks, start = [pa.array([], pa.bool_())], 0
    for task in tasks:
        if task.stop - start >= _ROWS_AT_ONCE or task.stop == rows.num_rows:
            marks.append(_superseded(rows.slice(start, task.stop - start)))
            start = task.stop
    return rows.append_column("superseded", pa.concat_arrays(marks))


def _superseded(rows: pa.Table) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = adopt(array("i", range(rows.num_rows)), pa.int32())
    keys = {"task": as_array(rows["task_id"]).indices, "run": rows["run_id"]}
    numbered = pa.table({**keys, "number": numbers})
    last = numbered.group_by(["task", "run"], use_threads=False).aggregate([("number", "max")])["number_max"]
    if len(last) == rows.num_rows:
        return pa.repeat(False, rows.num_rows)
    return pc.invert(pc.is_in(numbers, value_set=last))


def _add_empty_columns(rows: pa.Table) -> pa.Table:
    """The rows with the columns that are filled in later, null."""
    import pyarrow as pa

    schema = plan_schema()
    later = ("manifest_fingerprint", "snapshot_fingerprint", "quarantined")
    columns = {name: pa.nulls(rows.num_rows, schema.field(name).type) for name in later}
    return pa.table({**columns_of(rows), **columns}, schema=schema)


def _by_task(rows: pa.Table) -> tuple[pa.Array, list[TaskRows]]:
    """The order that groups tasks (as they first appear), stably; and the rows of each in it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = compact(as_array(rows["task_id"])).indices
    order = pc.array_sort_indices(codes)
    sizes = pa.table({"code": codes.take(order), "length": rows["length"].take(order)})
    totals = sizes.group_by("code", use_threads=False).aggregate([("length", "count"), ("length", "sum")])
    tasks, start, before = [], 0, 0
    figures = zip(totals["length_count"].to_pylist(), totals["length_sum"].to_pylist(), strict=True)
    for number, (runs, size) in enumerate(figures):
        tasks.append(TaskRows(number, start, start + runs, before, size))
        start, before = start + runs, before + size
    return order, tasks


def _take_columns(columns: dict[str, pa.ChunkedArray], order: pa.Array) -> pa.Table:
    """A table of the columns in another order; releases them one by one."""
    import pyarrow as pa

    taken = {}
    for name in list(columns):
        taken[name] = columns.pop(name).take(order)
        release_memory()
    return pa.table(taken)
