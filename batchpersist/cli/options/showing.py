"""Options of what is printed."""

from __future__ import annotations

import click

from .sections import section

_option = section("What is shown")

PROGRESS = (
    _option(
        "--progress",
        type=click.Choice(["auto", "bar", "lines", "none"]),
        default="auto",
        show_default=True,
        help="A bar, a line every 30 s, or nothing; auto: a bar on a terminal, else lines.",
    ),
)

JSON = (_option("--json", "as_json", is_flag=True, help="Print one JSON event a line on standard output."),)

QUIET = (_option("-q", "--quiet", is_flag=True, help="Print nothing unless something failed."),)

VERBOSITY = (
    *QUIET,
    _option("-v", "--verbose", is_flag=True, help="Also print each failure as it happens."),
)

DISPLAY = (*PROGRESS, *JSON, *VERBOSITY)
