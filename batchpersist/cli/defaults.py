"""Where an option's value comes from when the command line does not give it: environment, file, default."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click

from ..errors import UsageError
from .configuration import Configuration, Setting, as_setting

PREFIX = "BATCHPERSIST"


def options_of(command: click.Command) -> dict[str, click.Parameter]:
    """A command's options, and its subcommands', by the names that a file may call them by.

    Named sources may stand in a file as well, under their argument's name.
    """
    found: dict[str, click.Parameter] = {}
    for inner in subcommands(command):
        found |= options_of(inner)
    for param in command.params:
        if not param.is_eager and param.name is not None:
            found[_name(param)] = param
    return found


def subcommands(command: click.Command) -> Iterator[click.Command]:
    """Those of a group, loaded; none of a plain command."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield inner


def name_variables(command: click.Command, name: str) -> None:
    """Let each option be given by an environment variable, the command's own or that for all commands."""
    for inner in subcommands(command):
        name_variables(inner, name)
    for param in command.params:
        if isinstance(param, click.Option) and not param.is_eager:
            suffix = _name(param).upper().replace("-", "_")
            own = name.upper().replace("-", "_")
            param.envvar = [f"{PREFIX}_{own}_{suffix}", f"{PREFIX}_{suffix}"]


def settings_of(
    configuration: Configuration,
    name: str,
    command: click.Command,
    others: Callable[[], Iterator[click.Command]],
    *,
    lenient: bool = False,
) -> dict[str, Setting]:
    """What a file holds for a command, by the parameters' names.

    An option that only ``others`` have may stand among those for all commands; they are asked for
    only then, since they have to be imported. Raises UsageError for an option that no command has,
    and for a value that the option does not take, naming where it stands; ``lenient``: these are left out.
    """
    options = options_of(command)
    found: dict[str, Setting] = {}
    for table in configuration.tables(name):
        for written, value in table.options.items():
            param = options.get(_key(written))
            try:
                if param is not None and param.name is not None:
                    setting = as_setting(value, f"{table.origin} {written}")
                    found[param.name] = _checked(command, param, setting)
                elif table.own:
                    raise UsageError(f"{table.origin}: `batchpersist {name}` has no option {written!r}")
                elif not any(_key(written) in options_of(other) for other in others()):
                    raise UsageError(f"{table.origin}: no command has an option {written!r}")
            except UsageError:
                if not lenient:
                    raise
    return found


def default_map(settings: dict[str, Setting], command: click.Command) -> dict[str, object]:
    """The settings as click's defaults; a group's subcommands share them."""
    values: dict[str, object] = {name: setting.value for name, setting in settings.items()}
    for inner in subcommands(command):
        values[inner.name or ""] = dict(values)
    return values


def _checked(command: click.Command, param: click.Parameter, setting: Setting) -> Setting:
    several = param.multiple or param.nargs != 1
    value = setting.value
    if several and not isinstance(value, tuple):
        value = (str(value),)
    if not several and isinstance(value, tuple):
        raise UsageError(f"{setting.origin}: one value is needed, not a list")
    try:
        param.type_cast_value(click.Context(command), value)
    except click.BadParameter as error:
        raise UsageError(f"{setting.origin}: {error.message}") from None
    return setting._replace(value=value)


def _name(param: click.Parameter) -> str:
    """An option's long name without its dashes, or an argument's."""
    longest = max((option for option in param.opts), key=len)
    return _key(longest.lstrip("-"))


def _key(written: str) -> str:
    return written.replace("_", "-")
