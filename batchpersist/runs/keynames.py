"""Under which names a document seems to have the keys, where these are not the ones that it is read with."""

from __future__ import annotations

import re
from shlex import quote

import msgspec

from ..errors import InvalidRunError
from .jsontext import parse

_OPTIONS = {
    "--task-key": {"taskid", "task"},
    "--run-key": {"runid", "run"},
    "--time-key": {"timestamp", "completedat", "finishedat", "endedat"},
}
"""And how the keys are called, without regard to case and separators."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_SEPARATORS = re.compile(r"[^a-z0-9]")


def options_for(text: bytes) -> str:
    """The options that would read a JSON object as a run; empty where it has no such names for all keys."""
    try:
        members = parse(text, _members)
    except InvalidRunError:
        return ""
    strings = {
        _SEPARATORS.sub("", name.lower()): name
        for name, value in members.items()
        if bytes(value).startswith(b'"')
    }
    found = {option: strings[name] for option, names in _OPTIONS.items() for name in strings if name in names}
    if len(found) < len(_OPTIONS):
        return ""
    return f"{' '.join(f'{option} {quote(name)}' for option, name in found.items())} would read it"
