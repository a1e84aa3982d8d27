"""Columns of an Arrow table as values that encode to their JSON (docs/sources.md has the table)."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import SourceUnreadableError
from ..runs.spelling import javascript_number

if TYPE_CHECKING:
    import pyarrow as pa

# What has no JSON is written as it is: the run's own validation finds and names it.
_NO_JSON = msgspec.Raw(b"NaN")
_NO_TEXT = msgspec.Raw(b'"\xff"')


def json_values(column: pa.Array) -> list[Any]:
    """A value a row, for ``msgspec.json.encode``; a null is None.

    Raises SourceUnreadableError for a type that has no form in JSON.
    """
    from pyarrow import types

    column = storage(column)
    for is_kind, values in _FORMS.items():
        if getattr(types, is_kind)(column.type):
            return values(column)
    raise SourceUnreadableError("a column has a type without a form in JSON", str(column.type))


def storage(column: pa.Array) -> pa.Array:
    """What an extension type, such as Arrow's own for JSON, is stored as."""
    import pyarrow as pa

    return column.storage if isinstance(column, pa.ExtensionArray) else column


def objects(names: list[str], columns: list[list[Any]], rows: int) -> list[dict[str, Any]]:
    """Members in column order. A null is left out: a table cannot tell it from a missing member."""
    return [
        {name: column[row] for name, column in zip(names, columns, strict=True) if column[row] is not None}
        for row in range(rows)
    ]


def _plain(column: pa.Array) -> list[Any]:
    return column.to_pylist()  # type: ignore[no-any-return]


def _strings(column: pa.Array) -> list[Any]:
    """Bytes are taken as text: many writers leave out that they are. Neither is checked by Arrow."""
    import pyarrow as pa

    return [_text(value) for value in column.cast(pa.large_binary()).to_pylist()]


def _text(value: bytes | None) -> Any:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return _NO_TEXT


def _numbers(column: pa.Array) -> list[Any]:
    return [None if value is None else _number(value) for value in column.to_pylist()]


def _number(value: float) -> msgspec.Raw:
    return msgspec.Raw(javascript_number(value).encode()) if math.isfinite(value) else _NO_JSON


def _decimals(column: pa.Array) -> list[Any]:
    return [
        None if value is None else msgspec.Raw(format(value, "f").encode()) for value in column.to_pylist()
    ]


def _timestamps(column: pa.Array) -> list[Any]:
    """As JavaScript's ``toISOString``: UTC, milliseconds. Without a time zone it is taken as UTC."""
    import pyarrow as pa
    import pyarrow.compute as pc

    utc = column.view(pa.timestamp(column.type.unit)).cast(pa.timestamp("ms"), safe=False)
    return pc.strftime(utc, format="%Y-%m-%dT%H:%M:%SZ").to_pylist()  # type: ignore[no-any-return]


def _iso(column: pa.Array) -> list[Any]:
    import pyarrow as pa

    return column.cast(pa.string()).to_pylist()  # type: ignore[no-any-return]


def _decoded(column: pa.Array) -> list[Any]:
    return json_values(column.dictionary_decode())


def _structs(column: pa.Array) -> list[Any]:
    names = [field.name for field in column.type]
    values = objects(names, [json_values(child) for child in column.flatten()], len(column))
    return [
        value if valid else None for value, valid in zip(values, column.is_valid().to_pylist(), strict=True)
    ]


def _lists(column: pa.Array) -> list[Any]:
    import pyarrow.compute as pc

    items = iter(json_values(column.flatten()))
    sizes = pc.list_value_length(column).to_pylist()
    return [None if size is None else list(islice(items, size)) for size in sizes]


def _maps(column: pa.Array) -> list[Any]:
    """An object: its members are the entries, a null among them included."""
    import pyarrow as pa

    if not (pa.types.is_string(column.type.key_type) or pa.types.is_large_string(column.type.key_type)):
        raise SourceUnreadableError("a column has a type without a form in JSON", str(column.type))
    pair = pa.struct([("key", column.type.key_type), ("value", column.type.item_type)])
    rows = _lists(column.cast(pa.list_(pair)))
    return [None if row is None else {pair["key"]: pair.get("value") for pair in row} for row in rows]


_FORMS: dict[str, Callable[[pa.Array], list[Any]]] = {
    "is_string": _strings,
    "is_large_string": _strings,
    "is_string_view": _strings,
    "is_binary": _strings,
    "is_large_binary": _strings,
    "is_binary_view": _strings,
    "is_integer": _plain,
    "is_boolean": _plain,
    "is_null": _plain,
    "is_floating": _numbers,
    "is_decimal": _decimals,
    "is_timestamp": _timestamps,
    "is_date": _iso,
    "is_time": _iso,
    "is_dictionary": _decoded,
    "is_struct": _structs,
    "is_map": _maps,
    "is_list": _lists,
    "is_large_list": _lists,
    "is_fixed_size_list": _lists,
}
"""By the function of ``pyarrow.types`` that tells the type."""

TEXT_KINDS = tuple(kind for kind, values in _FORMS.items() if values is _strings)
