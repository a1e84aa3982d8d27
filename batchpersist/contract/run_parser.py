"""From the bytes of JSON documents to the completed run in them (docs/formats.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from shlex import quote
from typing import Any

import msgspec
from msgspec import Raw

from ..errors import InvalidRunError, MissingKeyError, UnsafeIdentifierError, UsageError
from ..models import Keys, RunKeys
from .identifiers import check_run_id, check_task_id
from .json_text import (
    MARK,
    MAX_DEPTH,
    REFUSALS,
    SPACE,
    canonical,
    encode,
    lay_out,
    parse,
    reads_alike,
    string,
    unmark,
)

ABSENT = Raw(b"")
_decode_string = msgspec.json.Decoder(str).decode


class Document(msgspec.Struct, gc=False):
    """What ``RunReader`` reads of a document, apart from the keys; Raw, since it may be anything."""

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
        """Keys as the text has them: the last of repeated ones counts, whatever its value."""
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


def _string_in(name: str, raw: Raw) -> str:
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
"""In a type's text: a colon, or an escape that may be one."""


_EVENT_LEVELS = 1
"""How deep a run is nested in an event."""

_KINDS = {b"[": "a list", b'"': "a string", b"t": "true", b"f": "false", b"n": "null"}
"""What JSON text is, by its first character."""


class RunReader:
    """Reads completed runs whose ids are under the given keys. Usable from several threads at once.

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
        """What ``read`` returns for a run like nearly all; None where only ``_read_any`` can decide."""
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
            of_a_run = completed or ":" not in _string_in("type", document.type)
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
            keys = RunKeys(*map(_string_in, self._names, self._decoder.keys(run)))
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
    return _string_in("type", event.type) == RUN_COMPLETED


def _check_encodable(name: str, value: str) -> None:
    """Raise InvalidRunError for a value that an index cannot hold."""
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


class WrongIdError(InvalidRunError):
    """A completed run, but not the one that belongs at its place."""


class OtherEventError(InvalidRunError):
    """An event, but not that of a completed run."""


class RunChecker:
    """Checks whether a text is a certain run, by the ids that it has under the given keys."""

    def __init__(self, keys: Keys) -> None:
        self._names = keys.task, keys.run
        self._read = RunReader(keys).read_canonical
        self._task_mark = b"\n  %b: " % string(keys.task)

    def is_of_task(self, text: bytes, task_id: str) -> bool:
        """Whether a run's canonical text names this task. Raises MissingKeyError."""
        mark = self._task_mark
        if text.startswith(b"{%b%b," % (mark, string(task_id))) and text.count(mark) == 1:
            return True  # nearly all texts begin like this, and decoding one costs more
        try:
            return self.read(text)[0].task_id == task_id
        except MissingKeyError:
            raise
        except InvalidRunError:
            return False

    def read(self, data: bytes) -> tuple[RunKeys, bytes]:
        """The keys and the canonical text of any run.

        A caller that makes a path of the ids checks them first: this does not find each unsafe one. Raises
        WrongIdError for one that it finds, InvalidRunError for other text.
        """
        try:
            found = self._read(data)
        except UnsafeIdentifierError as error:
            raise WrongIdError(error.message, error.detail) from error
        if found is None:
            raise OtherEventError("an event of another type than run:completed")
        return found

    def canonical(self, data: bytes, task_id: str, run_id: str) -> bytes:
        """The canonical text of a certain run. Raises WrongIdError for another run, else as ``read``."""
        keys, text = self.read(data)
        for name, actual, expected in zip(self._names, keys, (task_id, run_id), strict=False):
            if actual != expected:
                raise WrongIdError(f"its {name} is not that of its place", ascii(actual))
        return text


def has_same_content(text: bytes, other: bytes) -> bool:
    """Whether JavaScript reads the same from a run's text and from other bytes, valid JSON or not."""
    try:
        return reads_alike(text, other)
    except InvalidRunError:
        return False


def choose_entry(texts: Sequence[bytes], manifest: bytes | None) -> int:
    """Which of a run's entries in a snapshot counts: the last with the manifest's content, else the last."""
    if manifest is not None:
        for number in reversed(range(len(texts))):
            if has_same_content(texts[number], manifest):
                return number
    return len(texts) - 1


def order_by_growth(texts: Sequence[bytes]) -> list[bytes] | None:
    """The distinct texts, each with further members behind those of the one before it.

    ``texts``: canonical, as ``json_text.reading`` returns them. None where they differ otherwise. The
    orchestrator writes the texts of a run at three moments, while it adds members to one object.
    """
    ordered = sorted(set(texts), key=len)
    return ordered if all(map(_has_grown, ordered, ordered[1:])) else None


def _has_grown(shorter: bytes, longer: bytes) -> bool:
    # Canonical text: where the members of the one end, a comma follows in the other.
    return longer.startswith(shorter.removesuffix(b"\n}") + b",\n")
