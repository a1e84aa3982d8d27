"""A completed run as callers of the library hand it over: an object, or JSON text of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidRunError
from ..models import RunKeys
from .jsontext import canonical, encode
from .runreader import RunReader

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
