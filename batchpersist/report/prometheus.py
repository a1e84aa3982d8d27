"""The report of one batch in Prometheus' format: as its textfile would be if it were the first one."""

from __future__ import annotations

from dataclasses import replace

from ..errors import UsageError
from ..figures.outcomes import iter_outcomes
from ..figures.reporting import figures_of
from ..foreign_text import printable
from ..layout import Layout
from ..monitoring.exposition import expose
from ..monitoring.latency import COLUMNS
from .ended import went_well
from .inputs import BatchInputs


def render_prometheus(inputs: BatchInputs) -> str:
    """Raises UsageError where there are no metrics, or prometheus_client is missing; OSError."""
    if inputs.metrics is None:
        raise UsageError("Prometheus' format needs the metrics of a batch, which are written at its end")
    metrics = inputs.metrics
    layout = inputs.layout or Layout("", str(metrics.config.get("runs_dir", "")))
    figures = figures_of(
        replace(layout, runs_dir=printable(layout.runs_dir)),  # it may be printed
        metrics,
        success=went_well(metrics),
    )
    if inputs.outcomes is not None:
        for piece in iter_outcomes(inputs.outcomes, COLUMNS):
            figures.durations.add(piece)
    return expose(figures, {})
