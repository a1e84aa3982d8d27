"""The parts of a JSON document that tell whether it is a completed run: decoded, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Raw

from ..errors import MissingKeyError, UsageError
from .jsonescapes import MARK, unmark

ABSENT = Raw(b"")
_decode_string = msgspec.json.Decoder(str).decode


class Document(msgspec.Struct, gc=False):
    """What is looked at in a document, apart from the keys; Raw, for it may hold anything."""

    type: Raw = ABSENT
    payload: Raw = ABSENT


class DocumentDecoder:
    """Decodes documents whose keys have the given names, in two ways. For several threads at once.

    Raises UsageError for a name that cannot be looked up (it holds quotes, backslashes,
    control characters or a lone surrogate).
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        # A key may be named as a field of events or as another key; a struct has each name once.
        fields = {name: name for name in Document.__struct_fields__}
        for name in names:
            fields.setdefault(name, f"key{len(fields)}")
        own = {field: name for name, field in fields.items() if field not in Document.__struct_fields__}
        self.keys: Callable[[Any], tuple[Any, ...]] = attrgetter(*(fields[name] for name in names))
        """The keys in a decoded document, in the order of the names."""
        self.raw = _decoder(own, Raw, ABSENT)
        """Keys as they stand: the last of repeated ones counts, whatever they hold."""
        plain = own.keys() >= {fields[name] for name in names}
        self.plain = _decoder(own, str | None, None) if plain else None
        """Keys as strings, None where missing; one of ``REFUSALS`` where one of them ever is
        something else. Faster; None where a key is named as a field of events."""


def _decoder(names: dict[str, str], kind: Any, absent: Any) -> Callable[[bytes], Any]:
    """For what ``Document`` has and fields of one kind; ``names`` maps these to their names in JSON."""
    fields = [(field, kind, absent) for field in names]
    try:
        run = msgspec.defstruct("Run", fields, bases=(Document,), rename=names, gc=False)
    except ValueError as error:
        raise UsageError(f"unusable key name: {error}") from None
    return msgspec.json.Decoder(run).decode


def string(name: str, raw: Raw) -> str:
    """The string that a field holds; raises MissingKeyError where there is none."""
    if raw is ABSENT:
        raise MissingKeyError(f"`{name}` is missing")
    text = bytes(raw)
    if not text.startswith(b'"'):
        raise MissingKeyError(f"`{name}` is not a string")
    # msgspec has no lone surrogates, Python does.
    return str(json.loads(unmark(text))) if MARK in text else _decode_string(text)
