"""The file that node_exporter's textfile collector reads: what a batch leaves for the monitoring."""

from __future__ import annotations

from pathlib import Path

from ..context import ShouldStop, never_stop
from ..errors import UsageError
from ..extras import require
from ..files.outputs import check_output, is_stream, write_output
from .exposition import PREFIX, Figures, Key, expose, parse

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


def write_textfile(path: str, figures: Figures, should_stop: ShouldStop = never_stop) -> None:
    """Write the figures of a batch, whole or not at all.

    They continue those of the same root in the file: counters are added to, and the time of the last
    success is kept if this batch is none. Raises as ``check_textfile`` does, and ReaderMissingError where
    ``should_stop`` ended the wait for whoever reads a pipe.
    """
    write_output(path, (expose(figures, _read(path)).encode(),), should_stop)


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
