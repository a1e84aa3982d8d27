"""``batchpersist compare``: the same job in several ways, measured, and proved to give the same."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import click
import msgspec

from ..compare.comparing import Comparison, compare_batches
from ..compare.options import CompareOptions
from ..errors import ComparisonStoppedError
from ..figures.metrics import write_metrics
from ..figures.reporting import check_file
from ..locking.locks import LockPolicy
from ..models import Durability
from ..report import comparison as reported
from ..report.comparisontext import render_comparison
from ..runs.jsontext import encode
from .options import Sectioned, comparing, declare, places, reading, showing, working
from .output import say
from .progress import choose_display
from .signals import StopNowError, interruptible

COMPARE = (
    *reading.SOURCES,
    *places.ROOTS,
    *reading.KEYS,
    *reading.SELECTION,
    *comparing.WAYS,
    *comparing.ROUNDS,
    *comparing.SCRATCH,
    *working.DURABILITY,
    *working.LOCKS,
    *working.FORCE,
    *showing.PROGRESS,
    *comparing.DOCUMENT,
    *showing.QUIET,
)


@click.command(
    "compare",
    cls=Sectioned,
    short_help="Measure ways to persist the same runs, and prove their results equal.",
)
@declare(COMPARE)
def command(sources: tuple[str, ...], **given: Any) -> None:
    """Persist the runs in SOURCES in several ways below scratch folders, and compare.

    Measured are: sequential (snapshot, then manifest, a commit a run), paired (both at once),
    parallel (pairs over a pool of workers) and grouped (a pool, and one commit a task: what
    `batchpersist run` does). Nothing is written below OUT_DIR and RUNS_DIR; their histories are copied.
    Exit codes: 0 the same was written, 1 unexpected error, 2 usage, 3 the same, but some runs failed or
    were invalid, 5 something differs, 10 a source is missing, 130/143 interrupted.
    """
    options, output = _options(given), given["output"]
    if output is not None:
        check_file(output)  # before minutes of work, not after them
    with interruptible("stopping, and removing the scratch folder") as interruption:
        try:
            display = choose_display(given["progress"], False, given["quiet"], False)
            with closing(display):
                found = compare_batches(sources, options, watch=display.show, stop=interruption.__bool__)
        except (ComparisonStoppedError, StopNowError):
            say("Interrupted. Nothing was compared, and nothing is left of it.", err=True)
            click.get_current_context().exit(interruption.exit_code)
    _show(found, given)
    if output is not None:
        write_metrics(found.document, output)
    click.get_current_context().exit(found.exit_code)


def _options(given: dict[str, Any]) -> CompareOptions:
    return CompareOptions(
        keys=reading.keys_of(given),
        selection=reading.selection_of(given),
        durability=Durability(given["durability"]),
        lock=LockPolicy(attempts=given["lock_attempts"], stale_seconds=given["lock_stale"]),
        **{
            name: given[name]
            for name in (
                *("out_dir", "runs_dir", "scratch", "keep_scratch", "modes", "workers"),
                *("rounds", "warmup", "max_time", "seed", "force"),
            )
        },
    )


def _show(found: Comparison, given: dict[str, Any]) -> None:
    if given["as_json"]:
        say(encode(found.document).decode())
    elif found.exit_code or not given["quiet"]:
        comparison = msgspec.convert(found.document, reported.Comparison)
        say(render_comparison(comparison).rstrip("\n"), err=given["quiet"])
    if found.scratch is not None:
        say(f"Kept: {found.scratch}", err=True)
