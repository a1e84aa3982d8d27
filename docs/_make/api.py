"""tests/public_api.txt: the public names with all that a program may call or read of them."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterator
from typing import Any

import batchpersist

_PLAIN = (str, bytes, int, float, bool, tuple, type(None))
_HEAD = "# Made by docs/make.py: the library's public names. What changes here changes for its users.\n"


def page() -> str:
    names = sorted(name for name in batchpersist.__all__ if not name.startswith("__"))
    return "\n".join([_HEAD, *(line for name in names for line in _lines(name, getattr(batchpersist, name)))])


def _lines(name: str, value: Any) -> Iterator[str]:
    if not inspect.isclass(value):
        yield from _call(f"def {name}", value)
    else:
        yield f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
        yield from _body(value)
    yield ""


def _body(kind: type) -> Iterator[str]:
    if issubclass(kind, enum.Enum):
        yield from (f"    {member.name} = {member.value!r}" for member in kind)
        return
    fields = getattr(kind, "__struct_fields__", ())
    if fields:
        types = inspect.get_annotations(kind)
        yield from (f"    {name}: {types[name]}" for name in fields)
    elif hasattr(kind, "_fields"):
        types = inspect.get_annotations(kind)
        yield from (f"    {name}: {types[name].__forward_arg__}" for name in kind._fields)
    elif kind.__init__ not in (object.__init__, Exception.__init__):
        yield from ("    " + line for line in _call("def __init__", kind.__init__))
    for name in sorted(name for name in dir(kind) if _is_own(kind, name) and name not in fields):
        member = inspect.getattr_static(kind, name)
        if isinstance(member, property):
            yield f"    {name} -> {inspect.signature(member.fget).return_annotation}"  # type: ignore[arg-type]
        elif callable(member) or isinstance(member, classmethod | staticmethod):
            yield from ("    " + line for line in _call(f"def {name}", getattr(kind, name)))
        elif name not in (*getattr(kind, "__dataclass_fields__", ()), *getattr(kind, "_fields", ())):
            yield f"    {name} = {member!r}"


def _is_own(kind: type, name: str) -> bool:
    """Public, and neither ``object``'s nor an exception's."""
    inherited = any(name in vars(base) for base in kind.__mro__ if base.__module__ == "builtins")
    entered = name in ("__enter__", "__exit__", "__call__")
    return (not name.startswith("_") or entered) and not inherited


def _call(head: str, function: Any) -> Iterator[str]:
    """A parameter a line, so that a change shows as such."""
    signature = inspect.signature(function)
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    named = [each for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    words = [_parameter(each) for each in parameters]
    if named:
        words.insert(len(parameters) - len(named), "*")
    inner = "".join(f"        {each},\n" for each in words)
    yield f"{head}({f'{chr(10)}{inner}    ' if inner else ''}) -> {signature.return_annotation}"


def _parameter(parameter: inspect.Parameter) -> str:
    default = parameter.default
    if default is inspect.Parameter.empty:
        return f"{parameter.name}: {parameter.annotation}"
    if isinstance(default, enum.Enum):
        words = f"{type(default).__name__}.{default.name}"
    else:  # the text of a function would hold an address, that of an object all its fields
        words = repr(default) if isinstance(default, _PLAIN) else "..."
    return f"{parameter.name}: {parameter.annotation} = {words}"
