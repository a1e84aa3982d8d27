"""Options of where things are: the two roots, and the files that tell what was done.

They are of click's type for paths so that shells complete them; what stands there is looked at later.
"""

from __future__ import annotations

import click

from .sections import section
from .types import Output

_option = section("Where it goes")

RUNS_DIR = (
    _option(
        "--runs-dir",
        type=click.Path(),
        metavar="DIR",
        default=".runs",
        show_default=True,
        help="Root of the run manifests and task locks.",
    ),
)

ROOTS = (
    _option(
        "--out-dir",
        type=click.Path(),
        metavar="DIR",
        default="out",
        show_default=True,
        help="Root of the task snapshots.",
    ),
    *RUNS_DIR,
)

REPORTS = (
    _option(
        "--metrics",
        type=Output(),
        metavar="FILE",
        help="Where the metrics go.  [default: OUT_DIR/metrics.json]",
    ),
    _option(
        "--outcomes",
        type=Output(),
        metavar="FILE",
        help="Also save the outcome table, a row a run: FILE.csv or FILE.parquet.",
    ),
    _option(
        "--prometheus-textfile",
        type=Output(),
        metavar="FILE.prom",
        help="Also leave the figures for node_exporter's textfile collector ([prometheus]).",
    ),
)
