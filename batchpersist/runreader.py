"""Reading a completed run: whether a document is one, which one, and its own bytes in the document."""

from __future__ import annotations

from typing import Any

import msgspec

from .errors import InvalidRunError
from .identifiers import check_run_id, check_task_id
from .jsontext import canonical
from .models import Keys, RunKeys

RUN_COMPLETED = "run:completed"
"""The type of the event whose payload is a run."""


class RunReader:
    """Reads runs that carry their keys under the given names. Usable from several threads."""

    def __init__(self, keys: Keys) -> None:
        self._names = (keys.task, keys.run, keys.time)
        fields: list[tuple[str, type, Any]] = [
            (name, msgspec.Raw, msgspec.Raw()) for name in ("task", "run", "time", "type", "payload")
        ]
        rename = dict(zip(("task", "run", "time"), self._names, strict=True))
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Document", fields, rename=rename)).decode

    def read(self, data: bytes) -> tuple[RunKeys, bytes] | None:
        """The keys and the bytes of the run in one JSON document: ``data``, or the payload of its event.

        None where it is an event of another type. Raises InvalidRunError, UnsafeIdentifierError;
        what is read without one has a canonical text.
        """
        return self._read(canonical(data), data)

    def _read(self, text: bytes, data: bytes) -> tuple[RunKeys, bytes] | None:
        if not text.startswith(b"{"):
            raise InvalidRunError("not a JSON object")
        found = self._decode(text)
        kind, payload = bytes(found.type), bytes(found.payload)
        if kind.startswith(b'"') and payload:
            return self._read(payload, payload) if kind == b'"run:completed"' else None
        keys = RunKeys(*map(self._key, self._names, (found.task, found.run, found.time)))
        check_task_id(keys.task_id)
        check_run_id(keys.run_id)
        return keys, data

    def _key(self, name: str, raw: msgspec.Raw) -> str:
        if not bytes(raw):
            raise InvalidRunError(f"`{name}` is missing")
        try:
            return msgspec.json.decode(raw, type=str)
        except msgspec.MsgspecError:
            raise InvalidRunError(f"`{name}` is not a string") from None
