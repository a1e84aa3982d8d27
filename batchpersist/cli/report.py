"""``batchpersist report``: what a batch did, or what a comparison found."""

from __future__ import annotations

import os

import click

from ..batches.batchfolder import LATEST
from ..files import atomic
from ..layout import Layout
from ..models import Durability
from ..report.formats import FORMATS, format_of, render
from ..report.inputs import BatchInputs, find_inputs
from .options import Sectioned, declare, places
from .output import say


@click.command("report", cls=Sectioned, short_help="Tell what a batch did, or what a comparison found.")
@click.argument("what", default=LATEST, metavar="[WHAT]")
@declare(places.RUNS_DIR)
@click.option(
    "-f",
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    show_default="by FILE's extension, else text",
    help="How it is told.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="FILE",
    help="Write it there, whole or not at all, not on the screen.",
)
def command(what: str, runs_dir: str, kind: str | None, output: str | None) -> None:
    """Tell what a batch did, or what a comparison found.

    WHAT is `latest`, the id of a batch or its beginning, the folder of a batch, or a file: metrics.json,
    outcomes.parquet or compare.json. A batch that is running, or was killed, is told as far as it
    came. HTML needs batchpersist[report], prometheus needs batchpersist[prometheus]. The exit code is 0
    if there is a report, whatever it says.
    """
    inputs = find_inputs(what, Layout("", os.path.abspath(runs_dir)))
    text = render(inputs, kind or (format_of(output) if output else "text"))
    if output is None:
        say(text.removesuffix("\n"))
    else:
        _write(output, text)
        if isinstance(inputs, BatchInputs) and inputs.note is not None:
            say(f"Note: {inputs.note}", err=True)


def _write(path: str, text: str) -> None:
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe, a terminal: not to be replaced by a file
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        atomic.write(path, text.encode(), Durability.FILE)
