"""The file that node_exporter's textfile collector reads: what a batch leaves for the monitoring."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..columns import utf8
from ..context import ShouldStop, never_stop
from ..errors import UsageError
from ..extras import require
from ..files.outputs import check_output, is_stream, write_output
from ..layout import Layout
from ..moments import moment_of
from .exposition import PREFIX, Figures, Key, expose, parse

if TYPE_CHECKING:
    import pyarrow as pa

EXTENSION = ".prom"
"""The collector reads no others, and so none of our temporary files."""


def check_textfile(path: str) -> None:
    """Make sure before the work that the file can be written after it; nothing is left behind.

    Raises UsageError where its name is none that the collector reads, where something stands there that is
    not in its format, or where prometheus_client is missing; OSError where its folder cannot be written to.
    """
    require("prometheus", "prometheus_client")
    if not is_stream(path) and not path.endswith(EXTENSION):
        raise UsageError(f"node_exporter reads *{EXTENSION} only, not {path}")
    _read(path)
    check_output(path)


def write_textfile(
    path: str,
    layout: Layout,
    metrics: Mapping[str, Any],
    outcomes: pa.Table,
    *,
    success: bool,
    should_stop: ShouldStop = never_stop,
) -> None:
    """Tell of a batch on a root, whole or not at all.

    What the file there tells of the same root is gone on from: counters are added to, and the time of
    the last success stays where this is none.

    Raises as ``check_textfile`` does, and ReaderMissingError where ``should_stop`` ended the wait for whoever
    reads a pipe.
    """
    figures = figures_of(layout, metrics, success=success)
    figures.durations.add(outcomes)
    write_output(path, (expose(figures, _read(path)).encode(),), should_stop)


def figures_of(layout: Layout, metrics: Mapping[str, Any], *, success: bool) -> Figures:
    """Those of the metrics (docs/metrics.md); durations are not in them."""
    started, finished = (moment_of(metrics[name]).timestamp() for name in ("started_at", "finished_at"))
    return Figures(
        root={"runs_dir": utf8(layout.runs_dir), "shard": layout.shard},
        started=started,
        finished=finished,
        seconds=metrics["timing"]["wall_seconds"],
        success=success,
        counts=metrics["counts"],
        bytes=metrics["bytes"],
    )


def _read(path: str) -> dict[Key, float]:
    if is_stream(path):  # a device or a pipe has nothing to go on from
        return {}
    try:
        samples = parse(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UsageError(f"{path} is not in Prometheus' format, and is left as it is: {error}") from None
    if others := {name for name, _ in samples if not name.startswith(PREFIX)}:
        raise UsageError(f"{path} is another program's, and is left as it is: it has {min(others)}")
    return samples
