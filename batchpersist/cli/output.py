"""Printing: nobody's wish to stop reading may stop a batch."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

import click


def say(line: str, *, err: bool = False, end: bool = True) -> None:
    """Print a line (``end=False``: the next one goes on with it).

    Where nobody reads any more, or the disk is full, go silent for good. Of a file's name what is not
    UTF-8 is shown with escapes.
    """
    try:
        click.echo(line.encode("utf-8", "backslashreplace").decode(), err=err, nl=end)
    except OSError:
        silence(sys.stderr if err else sys.stdout)


def silence(stream: TextIO) -> None:
    """Nothing is shown there from now on: what is in its buffer must not fail when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def emit(message_type: str, **content: object) -> None:
    """Print one JSON event. ASCII only, so that no terminal or pipe can spoil it."""
    say(json.dumps({"message_type": message_type, **content}))


def print_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of words, in columns as wide as they need."""
    table = [heading, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        say("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
