"""docs/reference/metrics.md: the fields of metrics.json, from its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import schemas

_HEAD = """# Fields of metrics.json

<!-- Made by docs/make.py from batchpersist/metrics/schema.py. -->

[metrics.md](../metrics.md) says what they mean together. The JSON Schema is shipped with the package as
`metrics.schema.json`. A *moment* is UTC in ISO 8601, *seconds* are a decimal number.

| field | value | meaning |
| --- | --- | --- |
"""

Part = dict[str, Any]


def page() -> str:
    schema = schemas.metrics_schema()
    rows = (
        f"| `{path}` | {_words(part, schema['$defs'])} | {part['description']} |\n"
        for path, part in _paths(schema, schema["$defs"])
    )
    return _HEAD + "".join(rows)


def _paths(part: Part, defs: Part, prefix: str = "") -> Iterator[tuple[str, Part]]:
    part = _resolved(part, defs)
    for name, inner in part.get("properties", {}).items():
        yield prefix + name, inner
        yield from _paths(inner, defs, f"{prefix}{name}.")
    if "items" in part:
        yield from _paths(part["items"], defs, f"{prefix.removesuffix('.')}[].")


def _resolved(part: Part, defs: Part) -> Part:
    return defs[part["$ref"].rpartition("/")[2]] if "$ref" in part else part


def _words(part: Part, defs: Part) -> str:
    """The kind of value, as a reader would say it."""
    part = {**_resolved(part, defs), **part}
    if "anyOf" in part:
        return " or ".join(_words(each, defs) for each in part["anyOf"])
    if "enum" in part:
        return ", ".join(f"`{json.dumps(value)}`" for value in part["enum"])
    if part["type"] in ("number", "string") and "title" in part:
        return str(part["title"])
    words = str(part["type"]).replace("array", "list")
    return f"{words}, {part['minimum']} or more" if part.get("minimum") else words
