"""The formats of a report by name, and what each makes of a document."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace

import msgspec

from ..compare.document import Comparison
from ..errors import UsageError
from ..foreign_text import encodable_document, printable
from ..metrics.batch_report import figures_of
from ..metrics.outcome_table import iter_outcomes
from ..metrics.prometheus import COLUMNS, expose
from ..paths import Layout
from .build import build_document, is_success
from .document import BatchDocument
from .html import render_batch_page, render_comparison_page
from .inputs import BatchInputs
from .junit import render_junit
from .terminal import render_comparison, render_text

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
    """The format by a file's extension; raises UsageError for an unknown one."""
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
        return _render_comparison(inputs, kind)
    if kind == "prometheus":
        return _render_prometheus(inputs)
    document = build_document(inputs)
    if kind == "html":
        return render_batch_page(document)
    renderers: dict[str, Callable[[BatchDocument], str]] = {
        "text": render_text,
        "json": _render_json,
        "junit": render_junit,
    }
    return renderers[kind](document)


def _render_comparison(comparison: Comparison, kind: str) -> str:
    if kind == "html":
        return render_comparison_page(comparison)
    if kind == "text":
        return render_comparison(comparison)
    if kind == "json":
        return _render_json(comparison)
    raise UsageError(f"a comparison can be shown as text, json or html, not as {kind}")


def _render_json(document: BatchDocument | Comparison) -> str:
    """In ASCII, so that no text in it controls a terminal."""
    return json.dumps(encodable_document(msgspec.to_builtins(document)), indent=2) + "\n"


def _render_prometheus(inputs: BatchInputs) -> str:
    """Raises UsageError where there are no metrics, or prometheus_client is missing; OSError."""
    if inputs.metrics is None:
        raise UsageError("Prometheus' format needs the metrics of a batch, which are written at its end")
    metrics = inputs.metrics
    layout = inputs.layout or Layout("", str(metrics.config.get("runs_dir", "")))
    figures = figures_of(
        replace(layout, runs_dir=printable(layout.runs_dir)),  # it may be printed
        metrics,
        success=is_success(metrics),
    )
    if inputs.outcomes is not None:
        for piece in iter_outcomes(inputs.outcomes, COLUMNS):
            figures.durations.add(piece)
    return expose(figures, {})
