"""Helpers for Arrow tables and columns, and the schemas that several packages share.

Every table has all columns of its schema, also those that are null throughout.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

from .errors import UsageError, unreadable_as
from .foreign_text import encodable
from .models import Failure, Side

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

KEY_GLUE = "\n"
"""Between task id and run id; in no id."""


@cache
def run_schema() -> pa.Schema:
    """The runs that a scan finds, in source order: a row a run. No column has nulls."""
    import pyarrow as pa

    return pa.schema(
        [
            ("task_id", _repeated_text()),
            ("run_id", pa.string()),
            ("timestamp", pa.string()),  # when the run completed, as its source has it
            ("origin", pa.dictionary(pa.int32(), pa.binary())),  # with ``file``: a ``sources.SourceFile``
            ("file", _repeated_text()),
            ("offset", pa.int64()),  # of the run's text in its file, or in the copy of that: bytes
            ("length", pa.int64()),  # bytes
            ("line", pa.int64()),  # or row, from 1
        ]
    )


@cache
def index_schema() -> pa.Schema:
    """The index of a batch: all runs of its sources, scanned or taken from the cache, in source order."""
    import pyarrow as pa

    # The number of the row in the cache; null if it was scanned.
    return run_schema().append(pa.field("known", pa.int32()))


@cache
def plan_schema() -> pa.Schema:
    """The runs that a batch persists, in the order of its plan: tasks together."""
    import pyarrow as pa

    fingerprint = pa.dictionary(pa.int32(), pa.binary(16))  # ``storage.fingerprint``
    return pa.schema(
        [
            *index_schema(),
            ("row", pa.int32()),  # the number of the row in the index
            ("superseded", pa.bool_()),  # the same run comes again later
            # Of a file that the cache knows to hold the run; null: nothing is known (``cache.outputs``).
            ("manifest_fingerprint", fingerprint),
            ("snapshot_fingerprint", fingerprint),
            # Its worker did not survive an earlier part of the batch: it is not retried. Null means False.
            ("quarantined", pa.bool_()),
        ]
    )


@cache
def outcome_schema() -> pa.Schema:
    """What became of the runs of a plan, in its order: a row a run. Saved as ``outcomes.parquet``."""
    import pyarrow as pa

    name = pa.dictionary(pa.int8(), pa.string())  # of an enumeration, in the order of its values

    def side(of: str) -> list[tuple[str, pa.DataType]]:
        return [  # null unless the side failed
            (f"{of}_error_type", _repeated_text()),  # the class of the error
            (f"{of}_error_message", _repeated_text()),  # what equal failures have in common
            (f"{of}_error_detail", pa.string()),  # what differs from case to case; may be empty
        ]

    return pa.schema(
        [
            ("task_id", _repeated_text()),
            ("run_id", pa.string()),
            ("timestamp", pa.string()),
            ("source", _repeated_text()),  # the name of the run's file, as a person knows it
            ("line", pa.int64()),  # or row, from 1
            ("status", name),  # ``metrics.outcome_table.Status``: both sides together
            ("snapshot", name),  # ``Side``
            ("manifest", name),  # ``Side``
            *side("snapshot"),
            *side("manifest"),
            ("snapshot_seconds", pa.float64()),  # of the commit that carried the run; null: not attempted
            ("manifest_seconds", pa.float64()),  # null: not attempted
            ("pair_seconds", pa.float64()),  # of the slower side, or of both in turn; null: not attempted
            ("manifest_bytes", pa.int64()),  # written: 0 if none was
            ("shard", pa.int32()),  # number of the shard that wrote the manifest; null if none did
        ]
    )


@cache
def reject_schema() -> pa.Schema:
    """Invalid input, in source order: a row each. Saved as ``rejects.parquet``. No column has nulls."""
    import pyarrow as pa

    fields = [("source", pa.string()), ("line", pa.int64())]  # line or row, from 1; 0: none was reached
    return pa.schema([*fields, *((name, pa.string()) for name in Failure._fields)])


@cache
def shard_schema() -> pa.Schema:
    """Who did which shard, and when, in order of completion. Saved as ``shards.parquet``; no nulls."""
    import pyarrow as pa

    return pa.schema(
        [
            ("number", pa.int64()),
            ("work", pa.string()),  # ``Work``
            ("pid", pa.int64()),
            ("started", pa.float64()),  # seconds since the epoch, as ``finished``
            ("finished", pa.float64()),
            ("runs", pa.int64()),
            ("bytes", pa.int64()),  # of the runs' texts
            ("cpu_seconds", pa.float64()),
        ]
    )


def _repeated_text() -> pa.DataType:
    import pyarrow as pa

    return pa.dictionary(pa.int32(), pa.string())


class SideColumns:
    """The outcome of one side of each pair. Rows that no shard has filled are NOT_ATTEMPTED."""

    def __init__(self, rows: int) -> None:
        self._states = array("b", bytes([Side.NOT_ATTEMPTED]) * rows)
        self._seconds = array("d", bytes(8 * rows))
        # Failures are mostly few, with few causes: a row points to its failure, that to its cause.
        self._failure = array("i", [-1]) * rows
        self._causes: dict[tuple[str, str], int] = {}
        self._cause = array("i")
        self._details: list[str] = []

    def fill(
        self,
        start: int,
        stop: int,
        states: Sequence[int],
        seconds: Sequence[float],
        failures: Mapping[int, Failure],
    ) -> None:
        """Take in rows ``start:stop``; ``failures`` by row counted from ``start``.

        What comes again and is unchanged then was written before: it stays PERSISTED.
        """
        before = self._states[start:stop]
        if Side.PERSISTED in before:
            both = zip(before, states, strict=True)
            states = [old if (old, new) == (Side.PERSISTED, Side.UNCHANGED) else new for old, new in both]
        put(self._states, start, stop, states)
        put(self._seconds, start, stop, seconds)
        put(self._failure, start, stop, array("i", [-1]) * (stop - start))
        for row, failure in failures.items():
            self._failure[start + row] = len(self._details)
            cause = (encodable(failure.type), encodable(failure.message))
            self._cause.append(self._causes.setdefault(cause, len(self._causes)))
            self._details.append(encodable(failure.detail))

    def replace(self, states: pa.Array) -> None:
        """Other ``Side`` values, one a row."""
        put(self._states, 0, len(self._states), memory(states, "b"))

    def states(self) -> pa.Array:
        """``Side`` values, int8."""
        import pyarrow as pa

        return adopt(self._states, pa.int8())

    def attempted(self) -> pa.Array:
        import pyarrow.compute as pc

        return pc.not_equal(self.states(), Side.NOT_ATTEMPTED.value)

    def seconds(self) -> pa.Array:
        """Null where not attempted."""
        import pyarrow as pa

        return null_unless(self.attempted(), adopt(self._seconds, pa.float64()))

    def errors(self) -> tuple[pa.Array, pa.Array, pa.Array]:
        """Type, message and detail; null where the side did not fail."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._details:
            none = pa.nulls(len(self._failure), pa.dictionary(pa.int32(), pa.string()))
            return none, none, none.cast(pa.string())
        failure = adopt(self._failure, pa.int32())
        failure = null_unless(pc.greater_equal(failure, 0), failure)
        cause = adopt(self._cause, pa.int32()).take(failure)
        types = _strings(kind for kind, _ in self._causes).dictionary_encode()
        messages = _strings(message for _, message in self._causes).dictionary_encode()
        return types.take(cause), messages.take(cause), _strings(self._details).take(failure)


def put(column: array[Any], start: int, stop: int, values: Sequence[Any]) -> None:
    """Copy one value a row into rows ``start:stop``; ValueError where there are more or fewer values."""
    memoryview(column)[start:stop] = array(column.typecode, values)


def put_larger(column: array[Any], start: int, stop: int, values: Sequence[Any]) -> None:
    """The same, but a value that is not larger than the one that is there does not replace it."""
    before = column[start:stop]
    put(column, start, stop, list(map(max, before, values)) if any(before) else values)


def adopt(column: array[Any], kind: pa.DataType) -> pa.Array:
    """The array's own memory as an Arrow column without nulls."""
    import pyarrow as pa

    return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(column)])


def adopt_pieces(data: bytearray, width: int) -> pa.Array:
    """The same for pieces of ``width`` bytes, one after the other."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.binary(width), len(data) // width, [None, pa.py_buffer(data)])


def memory(column: pa.Array, code: Literal["b", "B", "i", "q", "Q"], width: int = 1) -> memoryview[int]:
    """A view of a column's own memory: a value is ``width`` items of the ``array`` type ``code``."""
    values: memoryview[int] = memoryview(column.buffers()[1] or b"").cast(code)
    return values[column.offset * width : (column.offset + len(column)) * width]


def null_unless(mask: pa.Array, values: pa.Array) -> pa.Array:
    """The values, null where ``mask`` is False; not copied where it never is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.all(mask, skip_nulls=False).as_py():
        return values
    return pc.if_else(mask, values, pa.scalar(None, values.type))


def enum_column(names: type[IntEnum], codes: pa.Array) -> pa.Array:
    """An enumeration's values (0, 1, 2 ...) as a dictionary column of its names in lower case."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(codes, [name.lower() for name in names.__members__])


def as_array(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece; not copied where it is in one."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def columns_of(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    """The columns by name: a caller that takes them one by one can release them one by one, too."""
    return dict(zip(table.column_names, table.columns, strict=True))


def with_columns(rows: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """The table with other values in columns that it has; ArrowInvalid if their types differ."""
    for name, values in columns.items():
        number = rows.schema.get_field_index(name)
        rows = rows.set_column(number, rows.schema.field(number), values)
    return rows


def run_keys(rows: pa.Table) -> pa.Array:
    """Identifies each row's run, as one string."""
    import pyarrow.compute as pc

    tasks = rows["task_id"].cast("string")
    return as_array(pc.binary_join_element_wise(tasks, rows["run_id"], KEY_GLUE))


def compact(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """The same values, those of the dictionary in the order of their first use, and no others."""
    import pyarrow as pa

    numbers = column.indices.dictionary_encode()
    return pa.DictionaryArray.from_arrays(numbers.indices, column.dictionary.take(numbers.dictionary))


def dictionary_encode(column: pa.ChunkedArray) -> pa.Array:
    """Strings that repeat, with one dictionary for the whole column (grouping asks for one)."""
    import pyarrow as pa

    return as_array(column.cast(pa.string())).dictionary_encode()


def read_parquet(path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file, or some of its columns. Raises UsageError if it is not one, OSError."""
    with open_parquet(path) as table:
        rows: pa.Table = table.read(None if columns is None else list(columns), use_threads=False)
        return rows


@contextmanager
def open_parquet(path: str) -> Iterator[pq.ParquetFile]:
    """Raises UsageError if it is not a Parquet file, also from within; OSError. Read without threads.

    Not by ``pyarrow.parquet.read_table``: that starts threads even if asked not to. It hangs where none
    can be started, and sometimes aborts the process when the interpreter exits.
    """
    import pyarrow.parquet as pq

    # By Arrow's own means only where the name is UTF-8.
    with (
        unreadable_as(partial(_not_parquet, path)),
        open(path, "rb") as file,
        pq.ParquetFile(file, pre_buffer=False) as table,
    ):
        yield table


def _not_parquet(path: str, reason: str) -> UsageError:
    return UsageError(f"not a Parquet file: {path}: {reason}")


def _strings(texts: Any) -> pa.Array:
    import pyarrow as pa

    return pa.array(list(texts), pa.string())
