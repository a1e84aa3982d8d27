"""Where the value of an option comes from: command line, environment, configuration file, default.

The top of the file is for every command that has such an option, the table ``[run]`` for
``batchpersist run`` alone. ``[profile.NAME]`` and ``[profile.NAME.run]`` count only with ``--profile NAME``.
The narrower one wins. ``batchpersist config show`` prints what each option would be, and from where.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, time
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from ..errors import UsageError
from .output import print_event, print_table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN_FILE = "batchpersist.toml"
SHARED_FILE = "pyproject.toml"
PROFILES = "profile"
CONFIGURATION = "batchpersist.configuration"
"""In a context's ``meta``: the path of the file that options come from; empty: there is none."""


class Setting(NamedTuple):
    """A value of the file as the command line would spell it, and the file and table that hold it."""

    value: str | bool | tuple[str, ...]
    origin: str


class Table(NamedTuple):
    """The options of one table of a file."""

    origin: str
    options: dict[str, Any]
    own: bool
    """The table is for one command alone, which must have every one of these options."""


@dataclass(frozen=True)
class Configuration:
    """The tables of one file that count under one profile."""

    path: str = ""
    """Empty: there is no file."""
    scopes: tuple[tuple[str, dict[str, Any]], ...] = ()
    """The file's own table and the profile's, each with its name. A later one overrides an earlier one."""

    def tables(self, command: str) -> Iterator[Table]:
        """The tables that count for a command. A later one overrides an earlier one."""
        for name, table in self.scopes:
            yield Table(self._place(name), _plain_values(table), own=False)
            if isinstance(table.get(command), dict):
                own = table[command]
                yield Table(self._place(f"{name}.{command}".lstrip(".")), _plain_values(own), own=True)

    def check_sections(self, commands: set[str]) -> None:
        """Raise UsageError for a table that belongs to no command."""
        for name, table in self.scopes:
            for key, value in table.items():
                if not isinstance(value, dict) or (key == PROFILES and not name):
                    continue
                section = f"{name}.{key}".lstrip(".")
                if key not in commands:
                    raise UsageError(f"{self.path}: there is no command for the table [{section}]")
                self._check_flat(section, value)

    def _check_flat(self, section: str, table: dict[str, Any]) -> None:
        """Raise UsageError for a table inside a command's table: subcommands share that one table."""
        for key, value in table.items():
            if isinstance(value, dict):
                inner = f"{section}.{key}"
                raise UsageError(f"{self.path}: there is no table [{inner}], only [{section}] with options")

    def _place(self, table: str) -> str:
        return f"{self.path} [{table}]" if table else self.path


def read_configuration(path: str | None, profile: str | None, *, lenient: bool = False) -> Configuration:
    """Read the named file, or the one in the current folder if there is one.

    Raises UsageError if the file cannot be read, is not TOML (with the line), or lacks the profile.
    ``lenient``: raises nothing; of a file that is not TOML, the lines above the error count.
    """
    try:
        return _read_configuration(path, profile, lenient)
    except UsageError:
        if not lenient:
            raise
        return read_configuration(path, None, lenient=True) if profile else Configuration()


def _read_configuration(path: str | None, profile: str | None, lenient: bool) -> Configuration:
    source = _read_file(path, lenient) if path else _find_file(lenient)
    if source is None:
        if profile:
            raise UsageError(f"no profile {profile!r}: there is no {OWN_FILE} here (see --config)")
        return Configuration()
    file, document = source
    scopes = [("", document)]
    if profile:
        scopes.append((f"{PROFILES}.{profile}", _profile(file, document, profile)))
    return Configuration(file, tuple(scopes))


def make_setting(value: Any, origin: str) -> Setting:
    """Spell a TOML value as the command line would; raises UsageError for a table or a nested list."""
    if isinstance(value, list):
        return Setting(tuple(str(_setting_value(item, origin)) for item in value), origin)
    return Setting(_setting_value(value, origin), origin)


def _plain_values(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if not isinstance(value, dict)}


def _setting_value(value: Any, origin: str) -> str | bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    raise UsageError(f"{origin}: a single value is needed, or a list of them, not {value!r}")


def _read_file(path: str, lenient: bool) -> tuple[str, dict[str, Any]]:
    try:
        document = _parse(path, lenient)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    return path, _own_table(document) or {} if os.path.basename(path) == SHARED_FILE else document


def _find_file(lenient: bool) -> tuple[str, dict[str, Any]] | None:
    if os.path.exists(OWN_FILE):
        return _read_file(OWN_FILE, lenient)
    if os.path.exists(SHARED_FILE):
        table = _own_table(_parse(SHARED_FILE, lenient))
        return None if table is None else (SHARED_FILE, table)
    return None


def _parse(path: str, lenient: bool) -> dict[str, Any]:
    with open(path, "rb") as file:
        lines = file.readlines()
    try:
        return _parse_lines(lines)
    except ValueError as error:
        if not lenient:
            is_text = not isinstance(error, UnicodeDecodeError)
            reason = error if is_text else "it is not in UTF-8 (in UTF-16, perhaps); save it as UTF-8"
            raise UsageError(f"{path}: {reason}") from None
    while lines:
        lines.pop()
        with suppress(ValueError):
            return _parse_lines(lines)
    return {}


def _parse_lines(lines: list[bytes]) -> dict[str, Any]:
    """Raises ValueError, as TOMLDecodeError and UnicodeDecodeError are."""
    document: dict[str, Any] = tomllib.loads(b"".join(lines).decode("utf-8-sig"))
    return document


def _own_table(document: dict[str, Any]) -> dict[str, Any] | None:
    tool = document.get("tool")
    table = tool.get("batchpersist") if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else None


def _profile(path: str, document: dict[str, Any], name: str) -> dict[str, Any]:
    profiles = document.get(PROFILES, {})
    table = profiles.get(name) if isinstance(profiles, dict) else None
    if not isinstance(table, dict):
        known = ", ".join(sorted(profiles)) if isinstance(profiles, dict) else ""
        raise UsageError(f"{path} has no profile {name!r}; {f'it has {known}' if known else 'it has none'}")
    return table


PREFIX = "BATCHPERSIST"


def options_of(command: click.Command) -> dict[str, click.Parameter]:
    """The options of a command and its subcommands, by their names in a file.

    Arguments are included: a file may name the sources.
    """
    options: dict[str, click.Parameter] = {}
    for inner in subcommands(command):
        options |= options_of(inner)
    for param in command.params:
        if not param.is_eager and param.name is not None:
            options[_option_name(param)] = param
    return options


def subcommands(command: click.Command) -> Iterator[click.Command]:
    """The subcommands of a group, which this imports; none for a plain command."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield inner


def name_variables(command: click.Command, name: str) -> None:
    """Give each option two environment variables: the command's own, and the one for all commands."""
    for inner in subcommands(command):
        name_variables(inner, name)
    for param in command.params:
        if isinstance(param, click.Option) and not param.is_eager:
            suffix = _option_name(param).upper().replace("-", "_")
            own = name.upper().replace("-", "_")
            param.envvar = [f"{PREFIX}_{own}_{suffix}", f"{PREFIX}_{suffix}"]


def configure(
    ctx: click.Context, name: str, command: click.Command, *, lenient: bool = False
) -> dict[str, Setting]:
    """Let the environment set the options of a command, and return those that the file sets.

    ``ctx``: the context of the main group. Raises UsageError as ``read_configuration`` does, and for a table
    or an option that no command has. ``lenient``: raises nothing.
    """
    assert isinstance(ctx.command, click.Group)
    configuration = read_configuration(ctx.params["config"], ctx.params["profile"], lenient=lenient)
    ctx.meta[CONFIGURATION] = configuration.path
    if not lenient:
        configuration.check_sections(set(ctx.command.list_commands(ctx)))
    name_variables(command, name)
    return _find_settings(configuration, name, command, ctx.command, lenient)


def _find_settings(
    configuration: Configuration, name: str, command: click.Command, group: click.Group, lenient: bool
) -> dict[str, Setting]:
    """The values that a file holds for a command, by the names of its parameters.

    A table for all commands may hold an option that only other commands have; only then are these imported.
    """
    options = options_of(command)
    settings: dict[str, Setting] = {}
    for table in configuration.tables(name):
        for written, value in table.options.items():
            param = options.get(_normalize_name(written))
            try:
                if param is not None and param.name is not None:
                    setting = make_setting(value, f"{table.origin} {written}")
                    settings[param.name] = _check_setting(command, param, setting)
                elif table.own:
                    raise UsageError(f"{table.origin}: `batchpersist {name}` has no option {written!r}")
                elif not lenient and not any(
                    _normalize_name(written) in options_of(other) for other in subcommands(group)
                ):
                    raise UsageError(f"{table.origin}: no command has an option {written!r}")
            except UsageError:
                if not lenient:
                    raise
    return settings


def default_map(settings: dict[str, Setting], command: click.Command) -> dict[str, object]:
    """The settings as click's ``default_map``; the subcommands of a group share them."""
    values: dict[str, object] = {name: setting.value for name, setting in settings.items()}
    for inner in subcommands(command):
        values[inner.name or ""] = dict(values)
    return values


def _check_setting(command: click.Command, param: click.Parameter, setting: Setting) -> Setting:
    takes_list = param.multiple or param.nargs != 1
    value = setting.value
    if takes_list and not isinstance(value, tuple):
        value = (str(value),)
    if not takes_list and isinstance(value, tuple):
        raise UsageError(f"{setting.origin}: one value is needed, not a list")
    try:
        param.type_cast_value(click.Context(command), value)
    except click.BadParameter as error:
        raise UsageError(f"{setting.origin}: {error.message}") from None
    return setting._replace(value=value)


def _option_name(param: click.Parameter) -> str:
    """An option's long name without its dashes, or an argument's."""
    longest = max((option for option in param.opts), key=len)
    return _normalize_name(longest.lstrip("-"))


def _normalize_name(written: str) -> str:
    return written.replace("_", "-")


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
    assert isinstance(root.command, click.Group)
    inspected = root.command.get_command(root, name)
    if inspected is None:
        raise click.BadParameter(f"there is no command {name!r}", param_hint="COMMAND")
    rows = list(_rows(inspected, configure(root, name, inspected)))
    if as_json:
        for row in rows:
            print_event("option", **row._asdict())
    else:
        print_table(("option", "value", "from"), rows)


def _rows(inspected: click.Command, settings: dict[str, Setting]) -> Iterator[_Row]:
    defaults: dict[str, Any] = {name: setting.value for name, setting in settings.items()}
    context = click.Context(inspected, default_map=defaults)
    for key, param in sorted(options_of(inspected).items()):
        if getattr(param, "hidden", False):
            continue
        value, source = param.consume_value(context, {})
        words = _show_value(value)
        if source is ParameterSource.ENVIRONMENT:
            yield _Row(key, words, f"environment {_variable_of(param)}")
        elif source is ParameterSource.DEFAULT_MAP:
            yield _Row(key, words, settings[param.name or ""].origin)
        else:
            yield _Row(key, words, "default" if words else "not set")


def _variable_of(param: click.Parameter) -> str:
    names = [param.envvar] if isinstance(param.envvar, str) else param.envvar or []
    return next((name for name in names if os.environ.get(name)), "")


def _show_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None or type(value).__module__.startswith("click") else str(value)
