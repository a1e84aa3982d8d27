"""Options of a batch that nobody watches (docs/nightly.md)."""

from __future__ import annotations

from .sections import section
from .types import Duration, Output, Words

_option = section("As a nightly job")

NIGHTLY = (
    _option(
        "--max-duration",
        type=Duration(),
        show_default="no limit",
        help="Take no new work after so long (90m, 2h ...); the same command goes on another night.",
    ),
    _option(
        "--log-file",
        type=Output(),
        metavar="FILE",
        help="Append start, notices, failures and summary to a log.",
    ),
    _option(
        "--on-failure",
        type=Words(),
        help="Run this when the exit code is not 0, with the path of the metrics as last argument.",
    ),
)
