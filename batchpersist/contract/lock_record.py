"""The owner record in a task's lock file (docs/formats.md, "Task lock").

A record is read as leniently as the orchestrator reads it: what batchpersist took for no record at all, it
would clear by its age alone, under a live owner.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from ..timestamps import moment_of
from .identifiers import JAVASCRIPT_WHITESPACE

KIND = "codex-lock-owner"

LONGEST_RECORD = 1 << 20
"""Bytes. A longer text is not read to its end."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock file. A record that was read may lack all but the token."""

    schema_version: int = 1
    kind: str = KIND
    token: str
    task_id: str = ""
    pid: int | None = None
    host: str = ""
    acquired_at: str = ""
    stale_ms: float = 0

    def encode(self) -> bytes:
        """The one line of JSON that is the lock file's content."""
        return msgspec.json.encode(self) + b"\n"


class UnreadableRecordError(ValueError):
    """The text is too long or too deep to be read, so that nobody knows whether it is a record."""


def parse(content: bytes) -> Owner | None:
    """The owner record in the text of a lock file; None where it has none. Raises UnreadableRecordError."""
    if len(content) > LONGEST_RECORD:
        raise UnreadableRecordError
    try:
        # All numbers are doubles, as in JavaScript: 1.0 is 1, and true is not.
        record = json.loads(
            content.decode("utf-8", "replace").strip(JAVASCRIPT_WHITESPACE),
            parse_int=float,
            parse_constant=_refuse,
        )
    except RecursionError as error:  # JavaScript reads any depth
        raise UnreadableRecordError from error
    except ValueError:
        return None
    if (
        not isinstance(record, dict)
        or record.get("kind") != KIND
        or not _is_one(record.get("schema_version"))
    ):
        return None
    token = _text(record.get("token"))
    if not token:
        return None
    return Owner(
        token=token,
        task_id=_text(record.get("task_id")),
        pid=_pid(record.get("pid")),
        host=_text(record.get("host")),
        acquired_at=_text(record.get("acquired_at")),
    )


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _is_one(value: Any) -> bool:
    return isinstance(value, float) and value == 1


def _pid(value: Any) -> int | None:
    return int(value) if isinstance(value, float) and value.is_integer() and value > 0 else None


def _text(value: Any) -> str:
    """A usable string; empty: none."""
    return value.strip(JAVASCRIPT_WHITESPACE) if isinstance(value, str) else ""


_is_moment = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}(\d{3})?)?(Z|[+-]\d\d:\d\d)", re.ASCII
).fullmatch
"""What JavaScript's ``Date.parse`` and Python read alike. It reads more; Python reads other forms as well."""


def moment_in(text: str) -> float | None:
    """A record's time of acquisition in seconds since the epoch; None: JavaScript may read it otherwise."""
    if not _is_moment(text):
        return None
    try:
        return moment_of(text).timestamp()
    except (ValueError, OverflowError):
        return None
