"""The outcome table of a batch: a row for each run.

Workers return shards in any order; their outcomes go into plain arrays by row number, which Arrow then
adopts without a copy. At a million runs an object a row would cost more than the writes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from ..arrow_tables import (
    SideColumns,
    adopt,
    as_array,
    dictionary_encode,
    enum_column,
    null_unless,
    open_parquet,
    outcome_schema,
    put,
    put_larger,
)
from ..errors import UsageError
from ..models import ShardOutcome, Side, Work
from ..profiling import PHASES
from ..sources import source_names

if TYPE_CHECKING:
    import pyarrow as pa

_OF_PLAN = ("task_id", "run_id", "timestamp", "origin", "file", "line", "superseded")

_ROWS_AT_ONCE = 1 << 17

_FEW = 1 << 16
"""Files whose names can be brought together in one dictionary at little cost."""


class Status(IntEnum):
    """The outcome of a run, both sides of its pair taken together."""

    NOT_ATTEMPTED = 0
    PERSISTED = 1
    UNCHANGED = 2
    FAILED = 3
    SUPERSEDED = 4
    """A later row is the same run: what became of this one does not count."""


def status_of(snapshot: int, manifest: int) -> Status:
    """The status of a run from the outcomes of its sides (``Side`` values)."""
    sides = {snapshot, manifest}
    if sides & {Side.FAILED, Side.LOCKED}:
        return Status.FAILED
    if Side.NOT_ATTEMPTED in sides:
        return Status.NOT_ATTEMPTED
    return Status.UNCHANGED if sides == {Side.UNCHANGED} else Status.PERSISTED


class ShardRow(NamedTuple):
    """A shard that was done (``arrow_tables.shard_schema``)."""

    number: int
    work: str
    pid: int
    started: float
    """Seconds since the epoch."""
    finished: float
    runs: int
    bytes: int | None = None
    """None, as ``cpu_seconds``, if only the journal knows of the shard."""
    cpu_seconds: float | None = None


@dataclass
class ShardTotals:
    """What shards report beside their rows."""

    commit_seconds: dict[str, float] = field(default_factory=dict)
    """By task; all its commits together, should there be several."""
    snapshot_bytes: int = 0
    pair_seconds: float = 0.0
    """Seconds until pairs, both sides started together, had settled; over all shards."""
    retried_runs: int = 0
    """How many were tried again, each time counted."""
    sum_if_sequential: float = 0.0
    """Seconds the same work takes with one side after the other."""
    phases: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    """Seconds by phase, over all threads of all shards."""
    shard_seconds: float = 0.0
    """In which workers had a shard in hand, over all shards."""
    syncs: int = 0
    """Calls of fsync and syncfs."""


class OutcomeBuilder:
    """Takes in shard outcomes in any order of completion; rows of none stay NOT_ATTEMPTED.

    ``rows`` is the plan's, in plan order: task_id, run_id, timestamp (strings, plain or dictionary-encoded),
    origin, file (``sources.SourceFile``), line (int64) and superseded (bool). For one thread.
    """

    def __init__(self, rows: pa.Table) -> None:
        runs = rows.num_rows
        self.totals = ShardTotals()
        self._rows = rows.select(_OF_PLAN)  # the rest of a plan is not kept alive
        self._snapshot = SideColumns(runs)
        self._manifest = SideColumns(runs)
        self._pair_seconds = array("d", bytes(8 * runs))
        self._manifest_bytes = array("q", bytes(8 * runs))
        self._shard = array("i", [-1]) * runs
        self.shards: list[ShardRow] = []
        """In order of completion."""

    def add(self, outcome: ShardOutcome) -> None:
        """Take in one shard; of rows that come again, the last outcome counts.

        Raises ValueError where its sequences are not of the shard's length: a defect.
        """
        _, work, start, stop, _ = outcome.shard
        if work is not Work.MANIFEST:
            columns = (outcome.snapshot, outcome.snapshot_seconds, outcome.snapshot_failures)
            self._snapshot.fill(start, stop, *columns)
        if work is not Work.SNAPSHOT:
            columns = (outcome.manifest, outcome.manifest_seconds, outcome.manifest_failures)
            self._manifest.fill(start, stop, *columns)
            put_larger(self._manifest_bytes, start, stop, outcome.manifest_bytes)
            put(self._shard, start, stop, array("i", [outcome.shard.number]) * (stop - start))
        # Two shards write the sides of a split task: the pair took as long as the slower one.
        put_larger(self._pair_seconds, start, stop, outcome.pair_seconds)
        self._count(outcome)

    def _count(self, outcome: ShardOutcome) -> None:
        totals = self.totals
        self.shards.append(_shard_row(outcome))
        totals.pair_seconds += outcome.pair_wall
        totals.sum_if_sequential += outcome.sum_if_sequential
        totals.shard_seconds += outcome.finished - outcome.started
        totals.syncs += outcome.syncs
        for phase, seconds in outcome.phases.items():
            totals.phases[phase] += seconds
        for commit in outcome.commits:
            totals.snapshot_bytes += commit.size
            before = totals.commit_seconds.get(commit.task_id, 0.0)
            totals.commit_seconds[commit.task_id] = before + commit.seconds

    def take_over(self, states: Mapping[str, pa.Array]) -> int:
        """Count rows that are as an earlier part of the batch left them as that part did.

        ``states``: that part's outcome for each side and row, NOT_ATTEMPTED where it has none. Returns the
        number of rows of which it had written both sides.
        """
        import pyarrow.compute as pc

        sides = {"snapshot": self._snapshot, "manifest": self._manifest}
        same = [
            pc.and_(
                pc.equal(sides[side].states(), Side.UNCHANGED.value),
                pc.not_equal(before, Side.NOT_ATTEMPTED.value),
            )
            for side, before in states.items()
        ]
        resumed = pc.sum(pc.and_(*same)).as_py() or 0
        for (side, before), is_same in zip(states.items(), same, strict=True):
            sides[side].replace(pc.if_else(is_same, before, sides[side].states()))
        return int(resumed)

    def snapshot_states(self) -> pa.Array:
        """The outcome of each row's entry in its task's snapshot: ``Side`` values, int8."""
        return self._snapshot.states()

    def table(self) -> pa.Table:
        """The outcome table (``outcome_schema``). It lives in the builder's memory: add nothing after it."""
        import pyarrow as pa
        import pyarrow.compute as pc

        snapshot, manifest = self._snapshot, self._manifest
        rows, self._rows = self._rows, self._rows.slice(0, 0)
        columns = {
            "task_id": dictionary_encode(rows["task_id"]),
            "run_id": rows["run_id"],
            "timestamp": rows["timestamp"],
            "source": _sources(rows),
            "line": rows["line"],
            "status": enum_column(Status, _statuses(snapshot, manifest, rows["superseded"])),
            "snapshot": enum_column(Side, snapshot.states()),
            "manifest": enum_column(Side, manifest.states()),
        }
        for name, side in (("snapshot", snapshot), ("manifest", manifest)):
            parts = zip(("type", "message", "detail"), side.errors(), strict=True)
            columns |= {f"{name}_error_{part}": column for part, column in parts}
        pairs = adopt(self._pair_seconds, pa.float64())
        shard = adopt(self._shard, pa.int32())
        columns["snapshot_seconds"] = snapshot.seconds()
        columns["manifest_seconds"] = manifest.seconds()
        columns["pair_seconds"] = null_unless(pc.or_(snapshot.attempted(), manifest.attempted()), pairs)
        columns["manifest_bytes"] = adopt(self._manifest_bytes, pa.int64())
        columns["shard"] = null_unless(pc.greater_equal(shard, 0), shard)
        return pa.table(columns, schema=outcome_schema())


def _sources(rows: pa.Table) -> pa.ChunkedArray:
    """What a person calls each row's source; in one dictionary, unless that would take a lot of memory."""
    names = source_names(rows)
    files = sum(len(as_array(rows[name]).dictionary) for name in ("origin", "file"))
    return names.unify_dictionaries() if files <= _FEW else names


def _shard_row(outcome: ShardOutcome) -> ShardRow:
    number, work, start, stop, size = outcome.shard
    times = (outcome.started, outcome.finished)
    return ShardRow(number, work.value, outcome.pid, *times, stop - start, size, outcome.cpu_seconds)


def _statuses(snapshot: SideColumns, manifest: SideColumns, superseded: pa.ChunkedArray) -> pa.Array:
    """``status_of`` for every row, by a table of all its answers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    answers = pa.array([status_of(first, second) for first in Side for second in Side], pa.int8())
    place = pc.add(pc.multiply(snapshot.states(), pa.scalar(len(Side), pa.int8())), manifest.states())
    replaced = as_array(superseded)
    return pc.if_else(replaced, pa.scalar(Status.SUPERSEDED.value, pa.int8()), answers.take(place))


def read_outcomes(path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The same as ``iter_outcomes`` in one table, each column with one dictionary."""
    import pyarrow as pa

    empty = outcome_schema().empty_table()
    empty = empty if columns is None else empty.select(list(columns))
    return pa.concat_tables([empty, *iter_outcomes(path, columns)]).unify_dictionaries()


def iter_outcomes(path: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """A saved outcome table, or some columns, in the types of ``outcome_schema``; so many rows at a time.

    Raises UsageError if the file is not an outcome table, OSError.
    """
    import pyarrow as pa

    schema = outcome_schema()
    names = schema.names if columns is None else list(columns)
    with open_parquet(path) as table:
        missing = [name for name in names if name not in table.schema_arrow.names]
        if missing:
            raise UsageError(f"not an outcome table, for it has no {', '.join(missing)}: {path}")
        fields = pa.schema([schema.field(name) for name in names])
        for batch in table.iter_batches(_ROWS_AT_ONCE, columns=names, use_threads=False):
            rows = pa.Table.from_batches([batch])
            yield pa.table([_read_column(rows[name], name, path) for name in names], schema=fields)


def _read_column(column: pa.ChunkedArray, name: str, path: str) -> pa.ChunkedArray | pa.Array:
    """Parquet numbers the names of an enumeration as they come; here they have its values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = {"status": Status, "snapshot": Side, "manifest": Side}.get(name)
    if kind is None:
        return column
    names = pa.array([name.lower() for name in kind.__members__])
    codes = pc.index_in(as_array(column.cast(pa.string())), value_set=names)
    if codes.null_count:
        raise UsageError(f"not an outcome table, for it has an unknown {name}: {path}")
    return enum_column(kind, codes.cast(pa.int8()))
