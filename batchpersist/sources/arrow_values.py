"""Columns of an Arrow table as values that encode to their JSON (docs/sources.md has the table)."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from ..contract.javascript_spelling import javascript_number
from ..errors import InvalidRunError, SourceUnreadableError
from ..timestamps import clock_time, javascript_date, javascript_time

if TYPE_CHECKING:
    import pyarrow as pa

_UNIT_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_DAY_SECONDS = 86_400


class Unencodable:
    """A value that JSON cannot hold: encoding it raises InvalidRunError, which makes its row invalid."""

    def __init__(self, column: str, value: str) -> None:
        self._reason = f"column `{column}` holds {value}"

    @staticmethod
    def refuse(value: Any) -> Any:
        """The hook of an encoder."""
        assert isinstance(value, Unencodable)
        raise InvalidRunError(value._reason)


def json_values(column: pa.Array, name: str) -> list[Any]:
    """A value a row, for an encoder with ``Unencodable.refuse``; a null is None. ``name``: the column's.

    Raises SourceUnreadableError for a type that JSON has no form for.
    """
    import pyarrow as pa
    from pyarrow import types

    if isinstance(column.type, pa.UuidType):
        return [None if value is None else str(value) for value in column.to_pylist()]
    column = unwrap_extension(column)
    for is_kind, values in _FORMS.items():
        if getattr(types, is_kind)(column.type):
            return values(column, name)
    raise _type_error(column.type, name)


def _type_error(kind: pa.DataType, name: str) -> SourceUnreadableError:
    return SourceUnreadableError(
        f"column `{name}` has type {kind}, without a form in JSON: leave it out, or write it as text"
    )


def unwrap_extension(column: pa.Array) -> pa.Array:
    """The column as it is stored, if its type is an extension such as Arrow's own for JSON."""
    import pyarrow as pa

    return column.storage if isinstance(column, pa.ExtensionArray) else column


def build_objects(names: list[str], columns: list[list[Any]], rows: int) -> list[dict[str, Any]]:
    """Members in column order, without nulls: a table cannot distinguish them from missing members."""
    return [
        {name: column[row] for name, column in zip(names, columns, strict=True) if column[row] is not None}
        for row in range(rows)
    ]


def _convert(column: pa.Array, name: str, form: Callable[[Any], Any], what: str) -> list[Any]:
    """Each value converted by ``form``, which raises ValueError for a value that is ``what``."""

    def convert(value: Any) -> Any:
        try:
            return None if value is None else form(value)
        except ValueError:
            return Unencodable(name, what)

    return list(map(convert, column.to_pylist()))


def _plain(column: pa.Array, _name: str) -> list[Any]:
    return column.to_pylist()  # type: ignore[no-any-return]


def _strings(column: pa.Array, name: str) -> list[Any]:
    """Bytes are read as text: many writers do not mark text as such. Arrow checks neither for UTF-8."""
    import pyarrow as pa

    return _convert(column.cast(pa.large_binary()), name, bytes.decode, "bytes that are no UTF-8")


def _numbers(column: pa.Array, name: str) -> list[Any]:
    return _convert(column, name, _number, "NaN or infinity, which JSON does not have")


def _number(value: float) -> msgspec.Raw:
    if not math.isfinite(value):
        raise ValueError
    return msgspec.Raw(javascript_number(value).encode())


def _decimals(column: pa.Array, name: str) -> list[Any]:
    return _convert(column, name, lambda value: msgspec.Raw(format(value, "f").encode()), "no number")


def _timestamps(column: pa.Array, name: str) -> list[Any]:
    """Like JavaScript's ``toISOString``: UTC, milliseconds. Times without a zone are in UTC."""
    import pyarrow as pa

    digits = _UNIT_DIGITS[column.type.unit]

    def form(value: int) -> str:
        return javascript_time(value * 1000 if not digits else value // 10 ** (digits - 3))

    return _convert(column.view(pa.int64()), name, form, "a time that is out of the range of dates")


def _dates(column: pa.Array, name: str) -> list[Any]:
    import pyarrow as pa

    in_days = pa.types.is_date32(column.type)

    def form(value: int) -> str:
        return javascript_date(value if in_days else value // (1000 * _DAY_SECONDS))

    whole = column.view(pa.int32() if in_days else pa.int64())
    return _convert(whole, name, form, "a date that is out of range")


def _times(column: pa.Array, name: str) -> list[Any]:
    import pyarrow as pa

    digits = _UNIT_DIGITS[column.type.unit]

    def form(value: int) -> str:
        if not 0 <= value < _DAY_SECONDS * 10**digits:
            raise ValueError
        return clock_time(value, digits)

    whole = column.view(pa.int32() if pa.types.is_time32(column.type) else pa.int64())
    return _convert(whole, name, form, "a time that is not within a day")


def _decoded(column: pa.Array, name: str) -> list[Any]:
    return json_values(column.dictionary_decode(), name)


def _structs(column: pa.Array, name: str) -> list[Any]:
    names = [field.name for field in column.type]
    children = zip(names, column.flatten(), strict=True)
    values = build_objects(
        names, [json_values(child, f"{name}.{own}") for own, child in children], len(column)
    )
    return [
        value if valid else None for value, valid in zip(values, column.is_valid().to_pylist(), strict=True)
    ]


def _lists(column: pa.Array, name: str) -> list[Any]:
    import pyarrow.compute as pc

    items = iter(json_values(column.flatten(), name))
    sizes = pc.list_value_length(column).to_pylist()
    return [None if size is None else list(islice(items, size)) for size in sizes]


def _maps(column: pa.Array, name: str) -> list[Any]:
    """An object: its members are the entries, a null among them included."""
    import pyarrow as pa

    if not (pa.types.is_string(column.type.key_type) or pa.types.is_large_string(column.type.key_type)):
        raise _type_error(column.type, name)
    pair = pa.struct([("key", column.type.key_type), ("value", column.type.item_type)])
    rows = _lists(column.cast(pa.list_(pair)), name)
    return [None if row is None else {pair["key"]: pair.get("value") for pair in row} for row in rows]


_FORMS: dict[str, Callable[[pa.Array, str], list[Any]]] = {
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
    "is_date": _dates,
    "is_time": _times,
    "is_dictionary": _decoded,
    "is_struct": _structs,
    "is_map": _maps,
    "is_list": _lists,
    "is_large_list": _lists,
    "is_fixed_size_list": _lists,
}
"""By the function of ``pyarrow.types`` that checks the type."""

TEXT_KINDS = tuple(kind for kind, values in _FORMS.items() if values is _strings)
