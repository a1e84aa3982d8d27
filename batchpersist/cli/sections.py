"""Groups of options under headings of a command's help."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import click

from ..errors import UsageError
from ..paths import Layout
from ..plan import refuse_places_of_runs
from ..sources import is_read_from
from ..storage.result_files import is_stream
from .config_file import CONFIGURATION
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

    Refuses an output that would replace what the command reads, a file of the runs, or another output.
    """

    def invoke(self, ctx: click.Context) -> Any:
        with suppress(FileNotFoundError):  # the working folder is gone: that shows where a path needs it
            self._check_outputs(ctx)
        return super().invoke(ctx)

    def _check_outputs(self, ctx: click.Context) -> None:
        """Raise UsageError for the first output that is refused. A device or a pipe never is."""
        layout = Layout(ctx.params.get("out_dir") or "", ctx.params.get("runs_dir") or "")
        read = list(self._inputs(ctx))
        outputs: dict[str, str] = {}
        for param in self.params:
            path = ctx.params.get(param.name or "")
            if path is None or not isinstance(param.type, Output) or is_stream(path):
                continue
            own = param.opts[0]
            others = [name for name, source in read if is_read_from(source, path)]
            others += [outputs.setdefault(os.path.realpath(path), own)]
            if others[0] != own:
                raise UsageError(f"{own} would replace what {others[0]} names: {path}")
            refuse_places_of_runs(layout, [path])

    def _inputs(self, ctx: click.Context) -> Iterator[tuple[str, str]]:
        """What the command reads: how the user calls it, and its path."""
        for param in self.params:
            value = ctx.params.get(param.name or "")
            if isinstance(param, click.Argument) and value is not None:
                for source in value if isinstance(value, tuple) else (value,):
                    yield (param.name or "").upper(), source
        if path := ctx.meta.get(CONFIGURATION):
            yield "--config", path

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
