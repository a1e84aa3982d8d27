"""Rows of Parquet and Arrow tables as the JSON text of runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from ..errors import InvalidRunError, SourceUnreadableError, unreadable_as
from ..models import Keys
from ..system_limits import require_thread
from . import formats
from .arrow_values import TEXT_KINDS, Unencodable, build_objects, json_values, unwrap_extension

if TYPE_CHECKING:
    import pyarrow as pa

TEXT_COLUMNS = ("json", "run", "summary", "payload")
"""Names, in any case of letters, by which a column of JSON text is known among others."""

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"

_encode = msgspec.json.Encoder(enc_hook=Unencodable.refuse).encode


_MARK = b"\xff\xff"
"""Begins the text of an invalid row, and never UTF-8. The reason follows."""


def encode_rows(batch: pa.RecordBatch, keys: Keys, folders: Mapping[str, str]) -> list[bytes]:
    """One JSON document for each row; for one that JSON cannot hold, a text that ``row_error`` reads.

    With columns for all three keys, a row is an object of its columns; else it is what a
    column of JSON text holds. ``folders``: values for keys that are not columns (``hive_columns``).
    Raises SourceUnreadableError if the table has neither form.
    """
    names = batch.schema.names
    wanted = (keys.task, keys.run, keys.time)
    given = {key: folders[key] for key in wanted if key in folders and key not in names}
    if given.keys() | set(names) >= set(wanted):
        columns = [[value] * batch.num_rows for value in given.values()]
        columns += map(json_values, batch.columns, names)
        return list(map(_encode_row, build_objects([*given, *names], columns, batch.num_rows)))
    import pyarrow as pa

    stored = [unwrap_extension(column) for column in batch.columns]
    texts = stored[_find_text_column(names, stored, wanted)].cast(pa.large_binary()).to_pylist()
    return [text or b"" for text in texts]


def _encode_row(row: dict[str, Any]) -> bytes:
    try:
        return _encode(row)
    except InvalidRunError as error:
        return _MARK + error.message.encode("utf-8", "backslashreplace")


def row_error(text: bytes) -> InvalidRunError | None:
    """Why a row is invalid, if its text is one of ``encode_rows`` that holds the reason."""
    return InvalidRunError(text[len(_MARK) :].decode("utf-8", "replace")) if text.startswith(_MARK) else None


def hive_columns(path: str) -> dict[str, str]:
    """The columns that the names of the folders above a file hold: ``taskId=a`` (Hive, Spark, DuckDB)."""
    parts = [part.partition("=") for part in path.split("/")[:-1]]
    return {unquote(name): unquote(value) for name, is_one, value in parts if is_one and value != _HIVE_NULL}


def _find_text_column(names: list[str], columns: list[pa.Array], keys: tuple[str, ...]) -> int:
    texts = [at for at, column in enumerate(columns) if _is_text(column.type)]
    for name in TEXT_COLUMNS:
        for at in texts:
            if names[at].lower() == name:
                return at
    missing = [key for key in keys if key not in names]
    if len(texts) != 1 or len(missing) < len(keys):
        task, run, time = keys
        raise SourceUnreadableError(
            f"expected columns {task}, {run} and {time} (or folders named {task}=...), or a column of JSON "
            f"text (named {', '.join(TEXT_COLUMNS)}, or the only one of text)",
            f"there is no {' and no '.join(missing)}; the columns are {', '.join(names)}",
        )
    return texts[0]


def _is_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    return any(getattr(types, is_kind)(kind) for is_kind in TEXT_KINDS)


ROWS = 1024
"""Rows of a batch: enough to outweigh the work that each batch costs."""

BUFFER = 1 << 20
"""Bytes of each column in memory: without a limit Arrow reads the columns of a row group whole."""

_NO_TIME = 2**63 - 1
"""Out of the range of dates, in every unit but nanoseconds."""

_FILE_MAGIC = b"ARROW1"
_FEATHER_1_MAGIC = b"FEA1"
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def line_blocks(batches: Iterator[pa.RecordBatch], keys: Keys, folders: Mapping[str, str]) -> Iterator[bytes]:
    """Each row as a line of JSON; see ``encode_rows`` for its form.

    Raises SourceUnreadableError where the table is damaged or has neither form.
    """
    for batch in batches:
        with unreadable_as(_damaged):
            texts = encode_rows(batch, keys, folders)
        yield b"".join([_line(text) for text in texts])


def _line(text: bytes) -> bytes:
    """One line, whatever the row holds, which is as valid or invalid as the row.

    To JSON a carriage return is the same as a newline: space between tokens, an error within one.
    """
    if b"\n" in text:
        text = text.replace(b"\n", b"\r")
    if not text.strip(b" \t\r"):
        text = b"null"  # invalid as well, but not a blank line
    return text + b"\n"


def parquet_batches(path: str) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with unreadable_as(_damaged), open(path, "rb") as source:
        formats.check_head(formats.PARQUET, source.read(formats.HEAD))
        # Nanoseconds, Arrow's default for INT96, hold no more than the years 1677 to 2262, and wrap around.
        file = pq.ParquetFile(source, buffer_size=BUFFER, pre_buffer=False, coerce_int96_timestamp_unit="ms")
        leaves = map(file.schema.column, range(len(file.schema)))
        int96 = [leaf.path for leaf in leaves if leaf.physical_type == "INT96"]
        for batch in file.iter_batches(batch_size=ROWS, use_threads=False):
            yield _drop_doubtful_times(batch, int96)


def _drop_doubtful_times(batch: pa.RecordBatch, int96: list[str]) -> pa.RecordBatch:
    """The batch with an invalid time in place of each that may mean another one.

    PyArrow before 23 writes the time of day before 1970 as a negative number. Arrow reads it as unsigned, so
    2**64 nanoseconds are added: 1969 becomes 2554.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in set(int96).intersection(batch.schema.names):
        column = batch[name]
        counts = column.view(pa.int64())
        doubtful = pc.and_(pc.greater(counts, 2**63 // 10**6), pc.less_equal(counts, 2**64 // 10**6))
        known = pc.if_else(doubtful, _NO_TIME, counts).view(column.type)
        batch = batch.set_column(batch.schema.get_field_index(name), name, known)
    return batch


def arrow_batches(path: str) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow IPC file or stream; Feather is such a file."""
    import pyarrow as pa

    with open(path, "rb") as file:
        head = file.read(formats.HEAD)
    formats.check_head(formats.ARROW, head)
    magic = head[: len(_FILE_MAGIC)]
    if magic.startswith(_FEATHER_1_MAGIC):
        raise SourceUnreadableError("Feather version 1 is not read: write it as version 2")
    with unreadable_as(_damaged), pa.OSFile(os.fsencode(path)) as source:
        for batch in _file_batches(source) if magic == _FILE_MAGIC else _stream_batches(source):
            # Decoding trusts the offsets inside a batch: wrong ones would end the process.
            batch.validate(full=True)
            for start in range(0, batch.num_rows, ROWS):
                yield batch.slice(start, ROWS)


def _file_batches(source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    require_thread()  # opening a file starts one of Arrow's, whatever its options
    with pa.ipc.open_file(source) as reader:
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _stream_batches(source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    with pa.ipc.open_stream(source) as reader:
        yield from reader
    # A reader accepts the end of the file as the stream's, even if a copy broke off between two batches.
    source.seek(-len(_END_OF_STREAM), os.SEEK_END)
    if source.read() != _END_OF_STREAM:
        raise _damaged("no end of stream marker")


def _damaged(reason: str) -> SourceUnreadableError:
    return SourceUnreadableError(
        "the table is damaged, cut short, or has a type or compression that Arrow does not read", reason
    )
