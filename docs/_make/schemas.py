"""JSON Schemas of documents that msgspec structs declare, with the docstrings of their fields.

msgspec describes a schema's objects by the docstrings of their classes; those of fields are only in the
source.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from itertools import pairwise
from typing import Any

import msgspec

from batchpersist.compare.document import Comparison
from batchpersist.metrics.schema import Metrics


def metrics() -> str:
    """batchpersist/metrics.schema.json."""
    return json.dumps(metrics_schema(), indent=2, ensure_ascii=False) + "\n"


def comparison() -> str:
    """batchpersist/compare.schema.json."""
    made = _schema(Comparison, "batchpersist comparison")
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def metrics_schema() -> dict[str, Any]:
    return _schema(Metrics, "batchpersist metrics")


def _schema(document: type[msgspec.Struct], title: str) -> dict[str, Any]:
    """A field that the document does not have is wrong; the library's readers ignore it."""
    (made,), parts = msgspec.json.schema_components([document], ref_template="#/$defs/{name}")
    for name, part in parts.items():
        part["additionalProperties"] = False
        for field, text in _docstrings(vars(sys.modules[document.__module__])[name]).items():
            part["properties"][field] = {"description": text, **part["properties"][field]}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return {**head, **made, "$defs": parts}


def _docstrings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The string after each annotated name of a class, in one line."""
    module = ast.parse(inspect.getsource(sys.modules[struct.__module__]))
    body = next(
        node for node in module.body if isinstance(node, ast.ClassDef) and node.name == struct.__name__
    ).body
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
