"""Types of the values that options take."""

from __future__ import annotations

import re
import shlex
from typing import Any

import click

from ..errors import UsageError
from ..memory_limit import parse_size
from ..options import FailurePolicy
from ..partition import Partition
from ..storage.result_files import STANDARD_OUTPUT
from ..timestamps import period, span


class Failures(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on only
    """A number of runs, or a share of them."""

    name = "N|N%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> FailurePolicy:
        try:
            return value if isinstance(value, FailurePolicy) else FailurePolicy.parse(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class Words(click.ParamType):  # type: ignore[type-arg]
    """A command line, split as a shell would, but for no shell."""

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


class Output(click.Path):
    """A file that a result is written to (docs/decisions/0023-outputs.md); ``-`` is standard output."""

    def __init__(self) -> None:
        super().__init__(readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            self.fail("a file's name is needed", param, ctx)
        return STANDARD_OUTPUT if value == "-" else str(value)


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time span such as 90m, 1h30m or 45 (seconds), as seconds."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            seconds = float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else span(value)
        except ValueError:
            self.fail(f"{value!r} is not a time span such as 90m, 1h30m or 45 (seconds)", param, ctx)
        if not seconds:
            self.fail("no time at all", param, ctx)
        return seconds


class Size(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes, such as 400M."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_size(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class SizeOrNone(Size):
    """A number such as 400M, or ``none`` for no limit."""

    name = "SIZE|none"

    def convert(  # type: ignore[override]
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        return None if value == "none" else super().convert(value, param, ctx)


class Shard(click.ParamType):  # type: ignore[type-arg]
    """A share of the tasks: which one of how many."""

    name = "K/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Partition:
        try:
            return value if isinstance(value, Partition) else Partition.parse(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A time as a person says it, as ISO text in UTC; of a day its start, or its end."""

    name = "TIME"

    def __init__(self, at_end: bool = False) -> None:
        self._at_end = at_end

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return period(str(value))[self._at_end]
        except ValueError as error:
            self.fail(str(error), param, ctx)
