"""docs/reference/metrics.md: the fields of metrics.json, from its JSON Schema.

What a field means stands in docs/metrics.md; a test sees to it that it is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

_HEAD = """# Fields of metrics.json

<!-- Made by docs/make.py from batchpersist/metrics.schema.json. -->

What they mean together is told in [metrics.md](../metrics.md). The JSON Schema is shipped with the package as
`metrics.schema.json`. A *moment* is UTC in ISO 8601, *seconds* are a decimal number.

| field | value | meaning |
| --- | --- | --- |
"""


def page() -> str:
    schema = json.loads((ROOT / "batchpersist" / "metrics.schema.json").read_text("utf-8"))
    meanings = _meanings((ROOT / "docs" / "metrics.md").read_text("utf-8"))
    rows = (
        f"| `{path}` | {_words(part, schema['$defs'])} | {meanings.get(path, '')} |\n"
        for path, part in _paths(schema, schema["$defs"])
    )
    return _HEAD + "".join(rows)


Part = dict[str, Any]


def _paths(
    part: dict[str, Any], defs: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
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
    if "oneOf" in part:
        return " or ".join(_words(each, defs) for each in part["oneOf"])
    if "const" in part:
        return f"`{json.dumps(part['const'])}`"
    if "enum" in part:
        return ", ".join(f"`{json.dumps(value)}`" for value in part["enum"])
    if "$ref" in part and _resolved(part, defs).get("type") in ("string", "number"):
        return str(part["$ref"].rpartition("/")[2])
    part = _resolved(part, defs)
    kinds = part.get("type", "any")
    words = " or ".join([kinds] if isinstance(kinds, str) else kinds)
    return f"{words}, {part['minimum']} or more" if part.get("minimum") else words.replace("array", "list")


def _meanings(page: str) -> dict[str, str]:
    """By the fields' names, which may share a row."""
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", page, re.MULTILINE)
    here = re.compile(r"\]\((?!https?:|#)")
    return {
        name: re.sub(r"\]\(#", "](../metrics.md#", here.sub("](../", meaning))
        for names, meaning in rows
        for name in re.findall("`(.+?)`", names)
    }
