"""How option classes check their values and show themselves."""

from __future__ import annotations

import math
import os
import types
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from enum import Enum
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import UsageError


class Options:
    """Base of the option classes, all of them frozen dataclasses.

    Their ``repr`` shows what differs from the defaults. Values are checked against the annotations when
    an object is made. A path object will do for text, a list for a tuple, a value for its enum.
    """

    def __post_init__(self) -> None:
        """Raises UsageError for a value of another type, and for a number that is not finite."""
        kind: Any = type(self)
        for name, hint in _hints(kind).items():
            value = _converted(getattr(self, name), hint)
            if not _fits(value, hint):
                raise UsageError(f"{name} must be {_words(hint)}, not {value!r}")
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        own: Any = self  # what derives from this is a dataclass
        values = ((each, getattr(self, each.name)) for each in fields(own))
        shown = [f"{each.name}={value!r}" for each, value in values if value != _default(each)]
        return f"{type(self).__name__}({', '.join(shown)})"


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _default(option: Field[Any]) -> Any:
    return option.default if option.default_factory is MISSING else option.default_factory()


def _converted(value: Any, hint: Any) -> Any:
    if isinstance(value, os.PathLike) and str in (hint, *get_args(hint)):
        return os.fspath(value)
    if isinstance(value, list) and get_origin(hint) is tuple:
        return tuple(value)
    if isinstance(value, str) and isinstance(hint, type) and issubclass(hint, Enum):
        with suppress(ValueError):
            return hint(value)
    return value


def _fits(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in args)
    if origin is Literal:
        return value in args
    if origin is not None:  # a tuple or a sequence, of one type
        of_kind = isinstance(value, origin) and not isinstance(value, str)
        return of_kind and all(_fits(each, args[0]) for each in value)
    if hint is float:
        return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def _words(hint: Any) -> str:
    args = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(map(_words, args))
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, args))
    if args:
        return f"a sequence, each {_words(args[0])}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(repr(each.value) for each in hint)
    plain = {int: "a whole number", float: "a finite number", str: "text", bool: "True or False"}
    return "None" if hint is type(None) else plain.get(hint, f"of the type {hint.__name__}")
