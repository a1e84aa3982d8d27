"""``batchpersist config show``: what each option of a command would be now, and where that comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click
from click.core import ParameterSource

from .config_file import Setting, options_of
from .output import emit, print_table

if TYPE_CHECKING:
    from .main import _Main


class _Row(NamedTuple):
    option: str
    value: str
    origin: str


@click.group("config", short_help="Show which options hold, and where they come from.")
def command() -> None:
    """Options from the environment and from files."""


@command.command("show", short_help="Show a command's options, and where each comes from.")
@click.argument("name", metavar="[COMMAND]", default="run")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def show(name: str, as_json: bool) -> None:
    """Show what each option of COMMAND (by default run) would be now, and where it comes from."""
    root = click.get_current_context().find_root()
    group = cast("_Main", root.command)
    inspected = group.get_command(root, name)
    if inspected is None:
        raise click.BadParameter(f"there is no command {name!r}", param_hint="COMMAND")
    rows = list(_rows(inspected, group.configure(root, name, inspected)))
    if as_json:
        for row in rows:
            emit("option", **row._asdict())
    else:
        print_table(("option", "value", "from"), rows)


def _rows(inspected: click.Command, settings: dict[str, Setting]) -> Iterator[_Row]:
    defaults: dict[str, Any] = {name: setting.value for name, setting in settings.items()}
    context = click.Context(inspected, default_map=defaults)
    for key, param in sorted(options_of(inspected).items()):
        if getattr(param, "hidden", False):
            continue
        value, source = param.consume_value(context, {})
        words = _words(value)
        if source is ParameterSource.ENVIRONMENT:
            yield _Row(key, words, f"environment {_variable(param)}")
        elif source is ParameterSource.DEFAULT_MAP:
            yield _Row(key, words, settings[param.name or ""].origin)
        else:
            yield _Row(key, words, "default" if words else "not set")


def _variable(param: click.Parameter) -> str:
    names = [param.envvar] if isinstance(param.envvar, str) else param.envvar or []
    return next((name for name in names if os.environ.get(name)), "")


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None or type(value).__module__.startswith("click") else str(value)
