"""The formats of a report by name: what each makes of a batch's document, or of a comparison."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import msgspec

from ..compare.document import Comparison
from ..errors import UsageError
from ..foreign_text import encodable_document
from .build import build_document
from .comparisontext import render_comparison
from .document import BatchDocument
from .inputs import BatchInputs
from .junit import render_junit
from .page import render_batch_page, render_comparison_page
from .prometheus import render_prometheus
from .text import render_text

FORMATS = ("text", "json", "html", "prometheus", "junit")

_EXTENSIONS = {
    ".txt": "text",
    ".json": "json",
    ".html": "html",
    ".htm": "html",
    ".prom": "prometheus",
    ".xml": "junit",
}


def format_of(path: str) -> str:
    """By a file's extension; raises UsageError where that says nothing."""
    try:
        return _EXTENSIONS[os.path.splitext(path)[1].lower()]
    except KeyError:
        known = ", ".join(sorted(_EXTENSIONS))
        raise UsageError(f"{path}: its name says no format ({known}); --format does") from None


def render(inputs: BatchInputs | Comparison, kind: str) -> str:
    """The whole report in one of ``FORMATS``.

    Raises UsageError where a file is not what its name says, where a comparison has no such format, and
    where a package that the format needs is not installed; OSError.
    """
    if isinstance(inputs, Comparison):
        return _of_comparison(inputs, kind)
    if kind == "prometheus":
        return render_prometheus(inputs)
    document = build_document(inputs)
    if kind == "html":
        return render_batch_page(document)
    renderers: dict[str, Callable[[BatchDocument], str]] = {
        "text": render_text,
        "json": _as_json,
        "junit": render_junit,
    }
    return renderers[kind](document)


def _of_comparison(comparison: Comparison, kind: str) -> str:
    if kind == "html":
        return render_comparison_page(comparison)
    if kind == "text":
        return render_comparison(comparison)
    if kind == "json":
        return _as_json(comparison)
    raise UsageError(f"a comparison can be shown as text, json or html, not as {kind}")


def _as_json(document: BatchDocument | Comparison) -> str:
    """In ASCII: nothing in it steers a terminal."""
    return json.dumps(encodable_document(msgspec.to_builtins(document)), indent=2) + "\n"
