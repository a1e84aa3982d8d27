"""The fields of a JSON Schema by their paths, as the pages name them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def fields_of(schema: dict[str, Any]) -> set[str]:
    """All of them, e.g. ``errors[].samples[].line``."""
    return set(_paths(schema, schema.get("$defs", {})))


def _paths(schema: dict[str, Any], defs: dict[str, Any], prefix: str = "") -> Iterator[str]:
    schema = defs[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    for name, part in schema.get("properties", {}).items():
        yield prefix + name
        yield from _paths(part, defs, f"{prefix}{name}.")
    if "items" in schema:
        yield from _paths(schema["items"], defs, f"{prefix.removesuffix('.')}[].")
