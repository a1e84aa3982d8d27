"""``batchpersist report``: shows what a batch did, or the result of a comparison."""

from __future__ import annotations

import logging
import os

import click

from ..paths import Layout
from ..records.batch_folder import LATEST
from ..report.formats import FORMATS, format_of, render
from ..report.inputs import BatchInputs, find_inputs
from ..storage.result_files import STANDARD_OUTPUT, is_stream
from . import source_options
from .output import print_line, write_document
from .params import OutputType, SectionedCommand, add_options


@click.command(
    "report", cls=SectionedCommand, short_help="Tell what a batch did, or what a comparison found."
)
@click.argument("what", default=LATEST, metavar="[WHAT]")
@add_options(source_options.RUNS_DIR)
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
    type=OutputType(),
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
    # Matplotlib warns if it cannot write its cache, which a report does not need.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    inputs = find_inputs(what, Layout("", os.path.abspath(runs_dir)))
    kind = kind or _format_of(output)
    text = render(inputs, kind)
    if kind == "text" and output in (None, STANDARD_OUTPUT):
        for line in text.splitlines():
            print_line(line)
    else:
        write_document((text.encode(),), output)
        if isinstance(inputs, BatchInputs) and inputs.note is not None:
            print_line(f"Note: {inputs.note}", err=True)


def _format_of(output: str | None) -> str:
    nameless = output is None or (is_stream(output) and not os.path.splitext(output)[1])
    return "text" if output is None or nameless else format_of(output)
