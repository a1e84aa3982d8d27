"""Where an option's value comes from: command line, environment, configuration file, default.

What stands at the top of the file is for every command that has such an option, what stands
in ``[run]`` for ``batchpersist run`` alone, and what stands in ``[profile.NAME]`` or
``[profile.NAME.run]`` only where that profile is asked for. The narrower one wins.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, time
from typing import Any, NamedTuple

import click

from ..errors import UsageError

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
    """A value of the file, as words that the command line could have held, and where it stands."""

    value: str | bool | tuple[str, ...]
    origin: str


class Table(NamedTuple):
    """Options of a file that count for a command."""

    origin: str
    options: dict[str, Any]
    own: bool
    """For this command alone: it must have every one of them."""


@dataclass(frozen=True)
class Configuration:
    """The tables of one file that count under one profile."""

    path: str = ""
    """Empty: there is no file."""
    scopes: tuple[tuple[str, dict[str, Any]], ...] = ()
    """The file's own table and that of the profile, each with its name; the stronger one last."""

    def tables(self, command: str) -> Iterator[Table]:
        """What counts for a command, the stronger tables last; in a scope, that for all commands first."""
        for name, table in self.scopes:
            yield Table(self._place(name), _options(table), own=False)
            if isinstance(table.get(command), dict):
                own = table[command]
                yield Table(self._place(f"{name}.{command}".lstrip(".")), _options(own), own=True)

    def check_sections(self, commands: set[str]) -> None:
        """Raise UsageError for a table that is no command's."""
        for name, table in self.scopes:
            for key, value in table.items():
                if not isinstance(value, dict) or (key == PROFILES and not name):
                    continue
                section = f"{name}.{key}".lstrip(".")
                if key not in commands:
                    raise UsageError(f"{self.path}: there is no command for the table [{section}]")
                self._check_flat(section, value)

    def _check_flat(self, section: str, table: dict[str, Any]) -> None:
        """What a command's own table holds is options, not passed over: subcommands share one table."""
        for key, value in table.items():
            if isinstance(value, dict):
                inner = f"{section}.{key}"
                raise UsageError(f"{self.path}: there is no table [{inner}], only [{section}] with options")

    def _place(self, table: str) -> str:
        return f"{self.path} [{table}]" if table else self.path


def read_configuration(path: str | None, profile: str | None, *, lenient: bool = False) -> Configuration:
    """From the named file, or from the current folder's, if it has one.

    Raises UsageError where the file cannot be read, is not TOML (with the line), or lacks the profile.
    ``lenient``: never; of a file that is not TOML the lines above the fault count.
    """
    try:
        return _read_configuration(path, profile, lenient)
    except UsageError:
        if not lenient:
            raise
        return read_configuration(path, None, lenient=True) if profile else Configuration()


def _read_configuration(path: str | None, profile: str | None, lenient: bool) -> Configuration:
    found = _read_named(path, lenient) if path else _read_found(lenient)
    if found is None:
        if profile:
            raise UsageError(f"no profile {profile!r}: there is no {OWN_FILE} here (see --config)")
        return Configuration()
    file, document = found
    scopes = [("", document)]
    if profile:
        scopes.append((f"{PROFILES}.{profile}", _profile(file, document, profile)))
    return Configuration(file, tuple(scopes))


def as_setting(value: Any, origin: str) -> Setting:
    """A TOML value in the words of the command line; raises UsageError for what has none."""
    if isinstance(value, list):
        return Setting(tuple(str(_word(item, origin)) for item in value), origin)
    return Setting(_word(value, origin), origin)


def _options(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if not isinstance(value, dict)}


def _word(value: Any, origin: str) -> str | bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    raise UsageError(f"{origin}: a single value is needed, or a list of them, not {value!r}")


def _read_named(path: str, lenient: bool) -> tuple[str, dict[str, Any]]:
    try:
        document = _parse(path, lenient)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    return path, _own_table(document) or {} if os.path.basename(path) == SHARED_FILE else document


def _read_found(lenient: bool) -> tuple[str, dict[str, Any]] | None:
    if os.path.exists(OWN_FILE):
        return _read_named(OWN_FILE, lenient)
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
