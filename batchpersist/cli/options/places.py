"""Options of where things are: the two roots, and the files that tell what was done."""

from __future__ import annotations

from .sections import section

_option = section("Where it goes")

RUNS_DIR = (
    _option(
        "--runs-dir",
        metavar="DIR",
        default=".runs",
        show_default=True,
        help="Root of the run manifests and task locks.",
    ),
)

ROOTS = (
    _option("--out-dir", metavar="DIR", default="out", show_default=True, help="Root of the task snapshots."),
    *RUNS_DIR,
)

REPORTS = (
    _option("--metrics", metavar="FILE", help="Where the metrics go.  [default: OUT_DIR/metrics.json]"),
    _option("--outcomes", metavar="FILE.parquet", help="Also save the outcome table, a row a run."),
)
