"""Printing: nobody's wish to stop reading may stop a batch."""

from __future__ import annotations

import json
import os
import sys

import click


def say(line: str, *, err: bool = False) -> None:
    """Print a line; where nobody reads any more, or the disk is full, go silent for good."""
    try:
        click.echo(line, err=err)
    except OSError:
        stream = sys.stderr if err else sys.stdout
        # What is still in the stream's buffer must not fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def emit(message_type: str, **content: object) -> None:
    """Print one JSON event. ASCII only, so that no terminal or pipe can spoil it."""
    say(json.dumps({"message_type": message_type, **content}))
