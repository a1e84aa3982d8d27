"""From the bytes of one JSON document to the completed run in it (docs/formats.md)."""

from __future__ import annotations

import json
from operator import attrgetter

import msgspec
from msgspec import Raw

from .errors import InvalidRunError, UsageError
from .identifiers import check_run_id, check_task_id
from .jsonescapes import unmark
from .jsontext import MAX_DEPTH, canonical, parse
from .models import Keys, RunKeys

RUN_COMPLETED = "run:completed"
"""The type of the event whose payload is a run."""

_ABSENT = Raw(b"")
_decode_string = msgspec.json.Decoder(str).decode


class _Document(msgspec.Struct, gc=False):
    """What is looked at in a document; Raw, for then the last of repeated keys counts, whatever they hold."""

    type: Raw = _ABSENT
    payload: Raw = _ABSENT


class RunReader:
    """Reads completed runs whose identity stands under the given keys. Usable from several threads at once.

    Raises UsageError for a key name that cannot be looked up (it holds quotes,
    backslashes, control characters or a lone surrogate).
    """

    def __init__(self, keys: Keys) -> None:
        self._names = (keys.task, keys.run, keys.time)
        # A key may be named as a field of events or as another key; a struct has each name once.
        fields = {name: name for name in _Document.__struct_fields__}
        for name in self._names:
            fields.setdefault(name, f"key{len(fields)}")
        own = {field: name for name, field in fields.items() if field not in _Document.__struct_fields__}
        try:
            document: type[_Document] = msgspec.defstruct(  # type: ignore[assignment]
                "_Run", [(field, Raw, _ABSENT) for field in own], bases=(_Document,), rename=own, gc=False
            )
        except ValueError as error:
            raise UsageError(f"unusable key name: {error}") from None
        self._decode = msgspec.json.Decoder(document).decode
        self._identity = attrgetter(*(fields[name] for name in self._names))

    def read(self, data: bytes) -> tuple[RunKeys, bytes] | None:
        """The keys of the run in one JSON document, and the run's own bytes.

        These are the payload where the run came as a ``run:completed`` event, else
        ``data`` itself. None for an event of another type. Raises InvalidRunError, or
        UnsafeIdentifierError, for everything else; what is read here ``canonical`` accepts.
        """
        document = self._document(data)
        if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
            canonical(data)  # it may be too deep, which only its formatted text shows
        if not bytes(document.type).startswith(b'"'):
            return self._run_keys(document), data
        if document.payload is not _ABSENT:
            return self._payload(document) if _is_completed(document) else None
        if all(raw is not _ABSENT for raw in self._identity(document)):
            return self._run_keys(document), data
        if _is_completed(document):
            raise InvalidRunError(f"`{RUN_COMPLETED}` event without a payload")
        return None

    def _document(self, data: bytes) -> _Document:
        try:
            return parse(data, self._decode)
        except msgspec.ValidationError as error:
            canonical(data)  # the decoder gave up at the first character, before looking for errors
            raise InvalidRunError("not a JSON object", str(error)) from None

    def _payload(self, event: _Document) -> tuple[RunKeys, bytes]:
        payload = unmark(bytes(event.payload))
        if not payload.startswith(b"{"):
            raise InvalidRunError(f"the payload of a `{RUN_COMPLETED}` event is not a JSON object")
        return self._run_keys(self._document(payload)), payload

    def _run_keys(self, run: _Document) -> RunKeys:
        raws = self._identity(run)
        try:
            keys = RunKeys(*map(_decode_string, raws))
        except (msgspec.DecodeError, UnicodeDecodeError):  # one by one, to say which it is
            keys = RunKeys(*map(_string, self._names, raws))
        check_task_id(keys.task_id)
        check_run_id(keys.run_id)
        if not keys.timestamp.isascii():
            _check_encodable(self._names[2], keys.timestamp)
        return keys


def _is_completed(event: _Document) -> bool:
    return _string("type", event.type) == RUN_COMPLETED


def _string(name: str, raw: Raw) -> str:
    if raw is _ABSENT:
        raise InvalidRunError(f"`{name}` is missing")
    try:
        return _decode_string(raw)
    except UnicodeDecodeError:
        return str(json.loads(unmark(bytes(raw))))  # msgspec has no lone surrogates, Python does
    except msgspec.DecodeError:
        raise InvalidRunError(f"`{name}` is not a string") from None


def _check_encodable(name: str, value: str) -> None:
    """Whatever else a timestamp is, it must be possible to write it down in an index."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRunError(f"`{name}` holds a lone surrogate") from None
