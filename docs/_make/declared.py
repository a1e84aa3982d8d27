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
    options: tuple[tuple[str, str], ...]
    """How each is written, and what it does; `--help` is left out."""


def declared() -> list[Declared]:
    """All commands, the whole one first."""
    return list(_walk(cli, click.Context(cli, info_name="batchpersist")))


def _walk(command: click.Command, context: click.Context) -> Iterator[Declared]:
    records = [param.get_help_record(context) for param in command.params]
    yield Declared(
        context.command_path,
        " ".join([context.command_path, *command.collect_usage_pieces(context)]),
        tuple(" ".join(part.split()) for part in inspect.cleandoc(command.help or "").split("\n\n")),
        tuple((written, " ".join(words.split())) for written, words in filter(None, records) if words),
    )
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from _walk(inner, click.Context(inner, info_name=name, parent=context))
