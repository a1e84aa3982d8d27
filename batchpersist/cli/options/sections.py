"""Groups of options that several commands share, each under a heading of the command's help."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ...errors import UsageError
from ...files.outputs import is_stream
from .types import Output

F = TypeVar("F", bound=Callable[..., Any])

Declare = Callable[[Any], Any]
"""What ``click.option`` gives: puts a new option on a command."""

Group = tuple[Declare, ...]


class _SectionOption(click.Option):
    def __init__(self, *args: Any, section: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section


def section(heading: str) -> Callable[..., Declare]:
    """``click.option`` for options that the help shows under this heading."""

    def option(*names: str, **attributes: Any) -> Declare:
        return click.option(*names, cls=_SectionOption, section=heading, **attributes)

    return option


def declare(*groups: Group) -> Callable[[F], F]:
    """Put all options of these groups on a command, in their order."""

    def on(command: F) -> F:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return on


class Sectioned(click.Command):
    """A command whose help lists its options by section; those of none come last.

    Refuses an output that is one of its sources, or another output: it would replace what is there.
    """

    def invoke(self, ctx: click.Context) -> Any:
        names: dict[str, str] = {}
        for param in sorted(self.params, key=lambda param: isinstance(param, click.Option)):
            is_output = isinstance(param.type, Output)
            value = ctx.params.get(param.name or "")
            if value is None or not (is_output or isinstance(param, click.Argument)):
                continue
            own = param.opts[0] if isinstance(param, click.Option) else (param.name or "").upper()
            for path in value if isinstance(value, tuple) else (value,):
                try:
                    place = os.path.realpath(path)
                except FileNotFoundError:  # the working folder is gone, or this is no path at all
                    place = path
                other = names.setdefault(place, own)
                if is_output and other != own and not is_stream(path):
                    raise UsageError(f"{own} would replace what {other} names: {path}")
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        rest = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None or not isinstance(param, click.Option):
                continue
            if isinstance(param, _SectionOption):
                sections.setdefault(param.section, []).append(record)
            else:
                rest.append(record)
        for heading, records in (*sections.items(), ("Options", rest)):
            with formatter.section(heading):
                formatter.write_dl(records)
