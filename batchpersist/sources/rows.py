"""Rows of an Arrow table as the JSON text of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from ..errors import InvalidRunError, SourceUnreadableError
from ..models import Keys
from .values import TEXT_KINDS, NoForm, json_values, objects, storage

if TYPE_CHECKING:
    import pyarrow as pa

TEXT_COLUMNS = ("json", "run", "summary", "payload")
"""Names, in any case of letters, by which a column of JSON text is known among others."""

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"

_encode = msgspec.json.Encoder(enc_hook=NoForm.refuse).encode


_MARK = b"\xff\xff"
"""Begins the text of an invalid row, and no other text in UTF-8. The reason follows."""


def row_texts(batch: pa.RecordBatch, keys: Keys, folders: Mapping[str, str]) -> list[bytes]:
    """One JSON document for each row; for one that JSON cannot hold, a text that ``refusal`` reads.

    With columns for all three keys, a row is an object of its columns; else it is what a
    column of JSON text holds. ``folders``: values for keys that are no columns (``folders_of``).
    Raises SourceUnreadableError where the table has neither form.
    """
    names = batch.schema.names
    wanted = (keys.task, keys.run, keys.time)
    given = {key: folders[key] for key in wanted if key in folders and key not in names}
    if given.keys() | set(names) >= set(wanted):
        columns = [[value] * batch.num_rows for value in given.values()]
        columns += map(json_values, batch.columns, names)
        return list(map(_row_text, objects([*given, *names], columns, batch.num_rows)))
    import pyarrow as pa

    stored = [storage(column) for column in batch.columns]
    texts = stored[_text_column(names, stored, wanted)].cast(pa.large_binary()).to_pylist()
    return [text or b"" for text in texts]


def _row_text(row: dict[str, Any]) -> bytes:
    try:
        return _encode(row)
    except InvalidRunError as error:
        return _MARK + error.message.encode("utf-8", "backslashreplace")


def refusal(text: bytes) -> InvalidRunError | None:
    """Why a row is invalid, if that was known when its text was made."""
    return InvalidRunError(text[len(_MARK) :].decode("utf-8", "replace")) if text.startswith(_MARK) else None


def folders_of(path: str) -> dict[str, str]:
    """The columns that the folders above a file stand for: ``taskId=a`` (Hive, Spark, DuckDB)."""
    parts = [part.partition("=") for part in path.split("/")[:-1]]
    return {unquote(name): unquote(value) for name, is_one, value in parts if is_one and value != _HIVE_NULL}


def _text_column(names: list[str], columns: list[pa.Array], keys: tuple[str, ...]) -> int:
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
