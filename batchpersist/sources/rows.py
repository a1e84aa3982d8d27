"""Rows of an Arrow table as the JSON text of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..errors import SourceUnreadableError
from ..models import Keys
from .values import TEXT_KINDS, json_values, objects, storage

if TYPE_CHECKING:
    import pyarrow as pa

TEXT_COLUMNS = ("json", "run", "summary", "payload")
"""Names, in any case of letters, by which a column of JSON text is known among others."""


def row_texts(batch: pa.RecordBatch, keys: Keys) -> list[bytes]:
    """One JSON document for each row.

    With columns for all three keys, a row is an object of its columns; else it is what a
    column of JSON text holds. Raises SourceUnreadableError where the table has neither form.
    """
    names = batch.schema.names
    if {keys.task, keys.run, keys.time}.issubset(names):
        rows = objects(names, [json_values(column) for column in batch.columns], batch.num_rows)
        return [msgspec.json.encode(row) for row in rows]
    import pyarrow as pa

    columns = [storage(column) for column in batch.columns]
    texts = columns[_text_column(names, columns, keys)].cast(pa.large_binary()).to_pylist()
    return [text or b"" for text in texts]


def _text_column(names: list[str], columns: list[pa.Array], keys: Keys) -> int:
    texts = [at for at, column in enumerate(columns) if _is_text(column.type)]
    for name in TEXT_COLUMNS:
        for at in texts:
            if names[at].lower() == name:
                return at
    if len(texts) != 1:
        raise SourceUnreadableError(
            f"expected columns {keys.task}, {keys.run} and {keys.time}, or a column of JSON text "
            f"(named {', '.join(TEXT_COLUMNS)}, or the only one of text)",
            f"the columns are {', '.join(names)}",
        )
    return texts[0]


def _is_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    return any(getattr(types, is_kind)(kind) for is_kind in TEXT_KINDS)
