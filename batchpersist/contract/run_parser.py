"""From the bytes of a JSON document to the completed run in it (docs/formats.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from operator import attrgetter
from shlex import quote
from typing import Any

import msgspec
from msgspec import Raw

from ..errors import InvalidRunError, MissingKeyError, UsageError
from ..models import Keys, RunKeys
from .identifiers import check_run_id, check_task_id
from .json_text import MARK, MAX_DEPTH, REFUSALS, SPACE, canonical, encode, lay_out, parse, unmark

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


RUN_COMPLETED = "run:completed"
"""The type of the event whose payload is a run."""

_PLAIN_TYPE = b'"run:completed"'
"""The same as nearly all spell it."""


_MAYBE_EVENT = re.compile(rb"[:\\]").search
"""In a type's text: a colon, or an escape that may stand for one."""


_EVENT_LEVELS = 1
"""How deep a run is nested in an event."""

_KINDS = {b"[": "a list", b'"': "a string", b"t": "true", b"f": "false", b"n": "null"}
"""What JSON text is, by its first character."""


class RunReader:
    """Reads completed runs whose identity stands under the given keys. Usable from several threads at once.

    Raises UsageError for a key name that cannot be looked up (it holds quotes,
    backslashes, control characters or a lone surrogate).
    """

    def __init__(self, keys: Keys) -> None:
        self._names = (keys.task, keys.run, keys.time)
        self._decoder = DocumentDecoder(self._names)

    def read(self, data: bytes) -> tuple[RunKeys, bytes] | None:
        """The keys of the run in one JSON document, and the run's own bytes.

        These are the payload where the run came as a ``run:completed`` event, else
        ``data`` itself. None for an event of another type. Raises InvalidRunError, or
        UnsafeIdentifierError, for everything else; what is read here ``canonical`` accepts.
        """
        return self._read_plain(data) or self._read_any(data)

    def read_canonical(self, data: bytes) -> tuple[RunKeys, bytes] | None:
        """As ``read``, but with the run's canonical text; for less than the two one after the other.

        For a run that was read before: its ids are not checked again.
        """
        found = self._find_plain(data)
        if found is not None and found[1] is data:
            return found[0], canonical(data)
        found = self.read(data)  # what is around a payload has to be valid, too
        return found and (found[0], canonical(found[1]))

    def _read_plain(self, data: bytes) -> tuple[RunKeys, bytes] | None:
        """What ``read`` returns for a run like nearly all; None where it takes a closer look to tell."""
        if not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError:
                return None
        if _may_be_deep(data):
            return None
        found = self._find_plain(data)
        return found and (_checked(found[0]), found[1])

    def _find_plain(self, data: bytes) -> tuple[RunKeys, bytes] | None:
        """The same, while UTF-8, depth and ids are for the caller to check."""
        if self._decoder.plain is None:
            return None
        try:
            run = self._decoder.plain(data)
            if run.type is not ABSENT and run.payload is not ABSENT:
                if bytes(run.type) != _PLAIN_TYPE:
                    return None
                data = bytes(run.payload)
                run = self._decoder.plain(data)
            elif run.type is not ABSENT and _MAYBE_EVENT(bytes(run.type)):
                return None
        except REFUSALS:
            return None
        keys = RunKeys(*self._decoder.keys(run))
        return None if None in keys else (keys, data)

    def _read_any(self, data: bytes) -> tuple[RunKeys, bytes] | None:
        found = self._find_any(data)
        if found is not None and _may_be_deep(found[1]):
            lay_out(found[1])  # only its formatted text shows
        return found

    def _find_any(self, data: bytes) -> tuple[RunKeys, bytes] | None:
        document = self._document(data)
        if _may_be_deep(data):
            lay_out(data, around=_EVENT_LEVELS)
        if not bytes(document.type).startswith(b'"'):
            return self._run_keys(document, data), data
        if document.payload is not ABSENT:
            return self._payload(document) if _is_completed(document) else None
        completed = _is_completed(document)
        if all(raw is not ABSENT for raw in self._decoder.keys(document)):
            # Events are named subject:verb; any other type is an unknown field of a run.
            of_a_run = completed or ":" not in string("type", document.type)
            return (self._run_keys(document, data), data) if of_a_run else None
        if completed:
            raise InvalidRunError(f"`{RUN_COMPLETED}` event without a payload")
        return None

    def _document(self, data: bytes) -> Document:
        text = data.lstrip(SPACE)
        if not text.startswith(b"{"):
            lay_out(data)  # it may not be JSON at all
            raise InvalidRunError("not a JSON object", f"it is {_KINDS.get(text[:1], 'a number')}")
        document: Document = parse(data, self._decoder.raw)
        return document

    def _payload(self, event: Document) -> tuple[RunKeys, bytes]:
        payload = unmark(bytes(event.payload))
        if not payload.startswith(b"{"):
            raise InvalidRunError(f"the payload of a `{RUN_COMPLETED}` event is not a JSON object")
        return self._run_keys(self._document(payload), payload), payload

    def _run_keys(self, run: Document, text: bytes) -> RunKeys:
        try:
            keys = RunKeys(*map(string, self._names, self._decoder.keys(run)))
        except MissingKeyError as error:
            raise MissingKeyError(error.message, options_for(text)) from None
        _checked(keys)
        if not keys.timestamp.isascii():
            _check_encodable(self._names[2], keys.timestamp)
        return keys


def _may_be_deep(data: bytes) -> bool:
    return data.count(b"[") + data.count(b"{") > MAX_DEPTH


def _checked(keys: RunKeys) -> RunKeys:
    check_task_id(keys.task_id)
    check_run_id(keys.run_id)
    return keys


def _is_completed(event: Document) -> bool:
    return string("type", event.type) == RUN_COMPLETED


def _check_encodable(name: str, value: str) -> None:
    """Whatever else a timestamp is, it must be possible to write it down in an index."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRunError(f"`{name}` holds a lone surrogate") from None


Summary = Mapping[str, Any] | bytes | str
"""A RunSummary of docs/formats.md, or its `run:completed` event; bytes are UTF-8."""


def read_summary(summary: Summary, reader: RunReader) -> tuple[RunKeys, bytes]:
    """The run's keys and its canonical text.

    Raises InvalidRunError (UnsafeIdentifierError among them) for whatever is no completed run.
    """
    found = reader.read(_json(summary))
    if found is None:
        raise InvalidRunError("an event of another type than run:completed")
    keys, run = found
    return keys, canonical(run)


def _json(summary: Summary) -> bytes:
    if isinstance(summary, bytes):
        return summary
    if isinstance(summary, str):
        return summary.encode("utf-8", "surrogatepass")  # no surrogate passes the reader
    return encode(summary)
