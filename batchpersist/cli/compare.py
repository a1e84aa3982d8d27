"""``batchpersist compare``: the same job in several ways, measured, and proved to give the same."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import click
import msgspec

from ..compare import document
from ..compare.options import CompareOptions
from ..compare.run import Comparison, compare_batches
from ..errors import ComparisonStoppedError, ScanStoppedError
from ..figures.schema import metrics_text
from ..files.outputs import ReaderMissingError, check_output
from ..foreign_text import encodable_document
from ..models import Durability
from ..options import LockPolicy
from ..report.comparisontext import render_comparison
from .options import Sectioned, comparing, declare, places, reading, showing, working
from .output import say, write_document
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
    """Measure several ways to persist the runs in SOURCES, and prove that the results are equal.

    Answers two questions. How many workers? Measured on as many runs as the time allows. Which mode?
    Sequential (snapshot, then manifest, a commit a run), paired (both at once), parallel (pairs over a
    pool of workers) or grouped (one commit a task, as `batchpersist run` does it), measured on a sample.
    Ends with the command to use. Nothing is written below OUT_DIR and RUNS_DIR.
    Exit codes: 0 equal results, 1 unexpected error, 2 usage or no runs, 3 equal, but some runs failed or
    were invalid, 5 something differs, 10 a source is missing, 130/143 interrupted.
    """
    options, output = _options(given), given["output"]
    if output is not None:
        check_output(output)  # before minutes of work, not after them
    with interruptible("stopping, and removing the scratch folder") as interruption:
        try:
            display = choose_display(given["progress"], False, given["quiet"], False)
            with closing(display):
                found = compare_batches(
                    sources, options, on_event=display.show, should_stop=interruption.__bool__
                )
        except (ComparisonStoppedError, ScanStoppedError, StopNowError):
            say("Interrupted. Nothing was compared, and nothing is left of it.", err=True)
            click.get_current_context().exit(interruption.exit_code)
        _show(found, given)
        try:
            if output is not None:
                write_document((metrics_text(found.document),), output, interruption.__bool__)
        except (ReaderMissingError, StopNowError):
            say(f"Interrupted while it waited for a reader of {output}.", err=True)
            click.get_current_context().exit(interruption.exit_code)
    click.get_current_context().exit(found.exit_code)


def _options(given: dict[str, Any]) -> CompareOptions:
    return CompareOptions(
        keys=reading.keys_of(given),
        selection=reading.selection_of(given),
        durability=Durability(given["durability"]),
        lock_policy=LockPolicy(attempts=given["lock_attempts"], stale_seconds=given["lock_stale"]),
        max_time_seconds=given["max_time"],
        **{
            name: given[name]
            for name in (
                *("out_dir", "runs_dir", "scratch", "keep_scratch", "with_history", "modes", "workers"),
                *("rounds", "warmup", "seed", "force"),
            )
        },
    )


def _show(found: Comparison, given: dict[str, Any]) -> None:
    if given["as_json"]:
        write_document((json.dumps(encodable_document(found.document), indent=2).encode(), b"\n"))
    elif found.exit_code or not given["quiet"]:
        comparison = msgspec.convert(found.document, document.Comparison)
        for line in render_comparison(comparison).splitlines():
            say(line, err=given["quiet"])
    if found.scratch is not None:
        say(f"Kept: {found.scratch}", err=True)
