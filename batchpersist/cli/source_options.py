"""Options about sources, keys, selection, roots and reports.

Sources have click's type for paths so that shells complete them; whether they exist is checked later.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

import click

from ..models import DEFAULT_KEYS, Keys
from ..options import Selection
from ..paths import Layout
from ..records.root_record import root_keys
from ..sources import STANDARD_INPUT
from .output import print_line
from .params import OutputType, TimeType, option_section

_source_option = option_section("What is read")


def _announce_terminal(
    context: click.Context, _parameter: click.Parameter, sources: tuple[str, ...]
) -> tuple[str, ...]:
    """Say that the command reads from the terminal: it would seem to hang."""
    if STANDARD_INPUT in sources and not context.resilient_parsing and sys.stdin and sys.stdin.isatty():
        print_line("Reading runs from this terminal, a JSON object a line; Ctrl-D ends them.", err=True)
    return sources


SOURCES = (
    click.argument(
        "sources",
        nargs=-1,
        required=True,
        type=click.Path(),
        metavar="SOURCES...",
        callback=_announce_terminal,
    ),
)

SOURCES_OR_RUNS_DIR = (
    click.argument(
        "sources", nargs=-1, type=click.Path(), metavar="[SOURCES]...", callback=_announce_terminal
    ),
)
"""For a command that reads the runs-dir if no source is named."""

OPTIONAL_SOURCES = (click.argument("sources", nargs=-1, metavar="[SOURCES]...", callback=_announce_terminal),)

KEYS = (
    _source_option(
        "--task-key",
        metavar="NAME",
        show_default="as the root was written, else taskId",
        help="The runs' name for the task's id.",
    ),
    _source_option(
        "--run-key",
        metavar="NAME",
        show_default="as the root was written, else runId",
        help="The runs' name for their own id.",
    ),
    _source_option(
        "--time-key",
        metavar="NAME",
        show_default="as the root was written, else timestamp",
        help="The runs' name for the completion time.",
    ),
)

TASK = (
    _source_option(
        "--task", "tasks", multiple=True, metavar="GLOB", help="Only tasks that match; repeatable."
    ),
)

_TIMES = (
    "An ISO date or time (UTC where it has no zone), 7d, 12h, '2 days ago', yesterday, today or now; days are"
    " those of UTC. A run whose own time cannot be read is invalid then."
)

SELECTION = (
    *TASK,
    _source_option("--since", type=TimeType(), help=f"Only runs completed at this time or later. {_TIMES}"),
    _source_option(
        "--until",
        type=TimeType(at_end=True),
        help="Only runs completed before this time; a day counts to its end. As for --since.",
    ),
    _source_option(
        "--limit", type=click.IntRange(min=0), metavar="N", help="Only the first N runs that match."
    ),
)


FAIL_IF_EMPTY = (
    _source_option(
        "--fail-if-empty", is_flag=True, help="Exit with code 3 where no run is found or selected."
    ),
)


def keys_from(params: Mapping[str, Any]) -> Keys:
    """Make the keys from a command's options, as click parsed them.

    The root remembers the keys that it was written with, for options that are left out. Raises UsageError if
    these cannot be read.
    """
    runs_dir = params.get("runs_dir")
    known = DEFAULT_KEYS if runs_dir is None else root_keys(Layout("", os.path.abspath(runs_dir)))
    names = zip((params["task_key"], params["run_key"], params["time_key"]), astuple(known), strict=True)
    return Keys(*(default if name is None else name for name, default in names))


def selection_from(params: Mapping[str, Any]) -> Selection:
    """Make the selection from a command's options, as click parsed them."""
    return Selection(params["tasks"], params["since"], params["until"], params["limit"])


_place_option = option_section("Where it goes")

RUNS_DIR = (
    _place_option(
        "--runs-dir",
        type=click.Path(),
        metavar="DIR",
        default=".runs",
        show_default=True,
        help="Root of the run manifests and task locks.",
    ),
)

ROOTS = (
    _place_option(
        "--out-dir",
        type=click.Path(),
        metavar="DIR",
        default="out",
        show_default=True,
        help="Root of the task snapshots.",
    ),
    *RUNS_DIR,
)

REPORT_FILES = (
    _place_option(
        "--metrics",
        type=OutputType(),
        metavar="FILE",
        help="Where the metrics go.  [default: OUT_DIR/metrics.json]",
    ),
    _place_option(
        "--outcomes",
        type=OutputType(),
        metavar="FILE",
        help="Also save the outcome table, a row a run: FILE.csv or FILE.parquet.",
    ),
    _place_option(
        "--prometheus-textfile",
        type=OutputType(),
        metavar="FILE.prom",
        help="Also leave the figures for node_exporter's textfile collector ([prometheus]).",
    ),
)
