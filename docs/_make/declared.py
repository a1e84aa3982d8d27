"""What Click knows of the commands, as data: each with its usage, its help and its options."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

import click

from batchpersist.cli.main import cli


@dataclass(frozen=True)
class Declared:
    name: str
    """With the words before it: ``batchpersist config show``."""
    usage: str
    paragraphs: tuple[str, ...]
    sections: dict[str, list[tuple[str, str]]]
    """Options by the heading of the help: how each is written, and what it does. `--help` is left out."""


def declared() -> list[Declared]:
    """All commands, the whole one first."""
    return list(_walk(cli, click.Context(cli, info_name="batchpersist")))


def _walk(command: click.Command, context: click.Context) -> Iterator[Declared]:
    yield Declared(
        context.command_path,
        " ".join([context.command_path, *command.collect_usage_pieces(context)]),
        tuple(" ".join(part.split()) for part in inspect.cleandoc(command.help or "").split("\n\n")),
        _sections(command, context),
    )
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from _walk(inner, click.Context(inner, info_name=name, parent=context))


def _sections(command: click.Command, context: click.Context) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for param in command.params:
        record = param.get_help_record(context)
        if record and record[1]:
            heading = getattr(param, "section", "Options")
            found.setdefault(heading, []).append((record[0], " ".join(record[1].split())))
    return found
