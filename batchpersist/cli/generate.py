"""``batchpersist generate``: a synthetic source, the same for the same seed."""

from __future__ import annotations

import click

from ..synthetic import generate
from .output import write_document
from .params import OutputType


@click.command("generate", short_help="Write synthetic completed runs, to try or measure with.")
@click.option(
    "--runs",
    default=1000,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="N",
    help="Lines to write.",
)
@click.option(
    "--tasks",
    default=10,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="Tasks they belong to.",
)
@click.option(
    "--skew",
    default=0.0,
    show_default=True,
    type=click.FloatRange(min=0),
    metavar="EXPONENT",
    help="0: tasks of equal size; the higher, the more runs the first task has (Zipf's exponent).",
)
@click.option(
    "--invalid",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Share of lines that are broken in one of many ways.",
)
@click.option(
    "--size",
    default=2500,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="Mean size of a run, about.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    metavar="N",
    help="The same seed gives the same bytes everywhere.",
)
@click.option(
    "-o",
    "--output",
    default="-",
    type=OutputType(),
    show_default="standard output",
    metavar="FILE",
    help="File to write.",
)
def command(runs: int, tasks: int, skew: float, invalid: float, size: int, seed: int, output: str) -> None:
    """Write synthetic completed runs as JSON lines, to try or measure batchpersist with."""
    write_document(generate(runs, tasks, skew=skew, invalid=invalid, seed=seed, size=size), output)
