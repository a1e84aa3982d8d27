"""What options are made of: the types of their values, and their sections in the help."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import click

from ..errors import UsageError
from ..memory_limit import parse_size
from ..options import FailurePolicy
from ..partition import Partition
from ..paths import Layout
from ..plan import refuse_places_of_runs
from ..sources import is_read_from
from ..storage.result_files import STANDARD_OUTPUT, is_stream
from ..timestamps import parse_period, parse_span
from .config import CONFIGURATION


class FailureLimitType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on only
    """A number of runs, or a share of them."""

    name = "N|N%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> FailurePolicy:
        try:
            return value if isinstance(value, FailurePolicy) else FailurePolicy.parse(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class CommandType(click.ParamType):  # type: ignore[type-arg]
    """A command line, split into words as a shell does it."""

    name = "COMMAND"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        if isinstance(value, list):
            return value
        try:
            words = shlex.split(value)
        except ValueError as error:
            self.fail(f"{value!r} is no command line: {error}", param, ctx)
        if not words:
            self.fail("no command", param, ctx)
        return words


class OutputType(click.Path):
    """A file for a result (docs/decisions/0023-outputs.md); ``-`` is standard output."""

    def __init__(self) -> None:
        super().__init__(readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            self.fail("a file's name is needed", param, ctx)
        return STANDARD_OUTPUT if value == "-" else str(value)


class DurationType(click.ParamType):  # type: ignore[type-arg]
    """A time span such as 90m, 1h30m or 45 (seconds), as seconds."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            seconds = float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else parse_span(value)
        except ValueError:
            self.fail(f"{value!r} is not a time span such as 90m, 1h30m or 45 (seconds)", param, ctx)
        if not seconds:
            self.fail("no time at all", param, ctx)
        return seconds


class SizeType(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes, such as 400M."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_size(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class SizeOrNoneType(SizeType):
    """A number such as 400M, or ``none`` for no limit."""

    name = "SIZE|none"

    def convert(  # type: ignore[override]
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        return None if value == "none" else super().convert(value, param, ctx)


class VerbosityType(click.IntRange):
    """How often ``-v`` was given. The environment and files may also say yes or no."""

    name = "count"

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            return int(click.BOOL.convert(value, param, ctx))


class PartitionType(click.ParamType):  # type: ignore[type-arg]
    """A partition of the tasks: which one of how many."""

    name = "K/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Partition:
        try:
            return value if isinstance(value, Partition) else Partition.parse(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class TimeType(click.ParamType):  # type: ignore[type-arg]
    """A time such as 2026-01-31 or 7d, converted to ISO text in UTC; a day means its start, or its end."""

    name = "TIME"

    def __init__(self, at_end: bool = False) -> None:
        self._at_end = at_end

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return parse_period(str(value))[self._at_end]
        except ValueError as error:
            self.fail(str(error), param, ctx)


F = TypeVar("F", bound=Callable[..., Any])

OptionDecorator = Callable[[Any], Any]
"""What ``click.option`` returns: it adds an option to a command."""

OptionGroup = tuple[OptionDecorator, ...]


class _SectionOption(click.Option):
    def __init__(self, *args: Any, section: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section


def option_section(heading: str) -> Callable[..., OptionDecorator]:
    """Return ``click.option`` for options under this heading of the help."""

    def option(*names: str, **attributes: Any) -> OptionDecorator:
        return click.option(*names, cls=_SectionOption, section=heading, **attributes)

    return option


def add_options(*groups: OptionGroup) -> Callable[[F], F]:
    """Add all options of these groups to a command, in this order."""

    def add(command: F) -> F:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add


class SectionedCommand(click.Command):
    """A command whose help lists its options by section, and those without a section last.

    Refuses an output that would replace an input of the command, a file of a run, or another output.
    """

    def invoke(self, ctx: click.Context) -> Any:
        with suppress(FileNotFoundError):  # the working folder was deleted: the command fails if it needs it
            self._check_outputs(ctx)
        return super().invoke(ctx)

    def _check_outputs(self, ctx: click.Context) -> None:
        """Raise UsageError for the first output that is refused. Devices and pipes are never refused."""
        layout = Layout(ctx.params.get("out_dir") or "", ctx.params.get("runs_dir") or "")
        inputs = list(self._inputs(ctx))
        outputs: dict[str, str] = {}
        for param in self.params:
            path = ctx.params.get(param.name or "")
            if path is None or not isinstance(param.type, OutputType) or is_stream(path):
                continue
            own = param.opts[0]
            others = [name for name, source in inputs if is_read_from(source, path)]
            others += [outputs.setdefault(os.path.realpath(path), own)]
            if others[0] != own:
                raise UsageError(f"{own} would replace what {others[0]} names: {path}")
            refuse_places_of_runs(layout, [path])

    def _inputs(self, ctx: click.Context) -> Iterator[tuple[str, str]]:
        """Each input of the command: its name on the command line, and its path."""
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
