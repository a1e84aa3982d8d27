"""The owner record in a task's lock file (docs/formats.md, "Task lock").

A record is read as leniently as the orchestrator reads it: what we would take for no record at all would be
cleared by its age alone, under a live owner.
"""

from __future__ import annotations

import json
import os
import re
import socket
import uuid
from enum import Enum
from typing import Any

import msgspec

from ..processes import is_running
from ..timestamps import moment_of, utc_text
from .identifiers import JAVASCRIPT_WHITESPACE

KIND = "codex-lock-owner"

LONGEST_RECORD = 1 << 20
"""Bytes. A longer text is not read to its end, so that nobody knows whether it is a record."""


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
        """The one line of JSON that stands in the lock file."""
        return msgspec.json.encode(self) + b"\n"


class OwnerState(str, Enum):
    """What can be told of the one who left a lock file."""

    ALIVE = "alive"
    DEAD = "dead"
    """It was a process of this host, and is no more."""
    ELSEWHERE = "on another host"
    """Whether it lives cannot be told from here."""
    NO_HOST = "on an unknown host"
    NO_PID = "an unknown process"
    UNDATED = "perhaps alive"
    """A process has its pid, and may be another one: the record has no readable time."""
    UNJUDGED = "unknown"
    """Its text is too long, or too deep, to be read."""
    UNKNOWN = "left no record"
    NO_LOCK = "no lock file"
    """A link or a folder stands in a lock's place."""


CLEARED_WHEN_OLD = frozenset({OwnerState.DEAD, OwnerState.UNKNOWN})
"""All others keep the lock for ever."""


def this_process(task_id: str, stale_seconds: float) -> Owner:
    """A new record of this process, with a token of its own, acquired now."""
    return Owner(
        token=str(uuid.uuid4()),
        task_id=task_id,
        pid=os.getpid(),
        host=socket.gethostname(),
        acquired_at=utc_text(),
        stale_ms=round(stale_seconds * 1000),
    )


def parse(content: bytes) -> Owner | None:
    """The owner record in ``content``; None: there is none, or none that can be told. Never raises."""
    record = _record(content)
    return record if isinstance(record, Owner) else None


def state_of(content: bytes) -> OwnerState:
    """What ``content``, the text of a lock file, tells of its owner at this moment. Never raises."""
    record = _record(content)
    return state_of_owner(record) if isinstance(record, Owner) else record


def state_of_owner(owner: Owner) -> OwnerState:
    """DEAD only where it is certain that the process that wrote ``owner`` exists no more.

    That is: it ran on this host, and its pid is free or belongs to a process that started after
    ``acquired_at``. A process that may not be signalled is alive, and so is a zombie (its threads may run
    on). A process in another pid namespace under the same host name cannot be seen and would be
    taken for dead; what protects its lock is that it keeps the file's mtime fresh.
    """
    if not owner.host:
        return OwnerState.NO_HOST
    if owner.host != socket.gethostname():
        return OwnerState.ELSEWHERE
    if owner.pid is None:
        return OwnerState.NO_PID
    acquired = _seconds(owner.acquired_at)
    if not is_running(owner.pid, acquired):
        return OwnerState.DEAD
    return OwnerState.UNDATED if acquired is None else OwnerState.ALIVE


def _record(content: bytes) -> Owner | OwnerState:
    """The owner record in ``content``, or else UNKNOWN (there is none) or UNJUDGED."""
    if len(content) > LONGEST_RECORD:
        return OwnerState.UNJUDGED
    try:
        # All numbers are doubles, as in JavaScript: 1.0 is 1, and true is not.
        record = json.loads(
            content.decode("utf-8", "replace").strip(JAVASCRIPT_WHITESPACE),
            parse_int=float,
            parse_constant=_refuse,
        )
    except RecursionError:  # JavaScript reads any depth
        return OwnerState.UNJUDGED
    except ValueError:
        return OwnerState.UNKNOWN
    if (
        not isinstance(record, dict)
        or record.get("kind") != KIND
        or not _is_one(record.get("schema_version"))
    ):
        return OwnerState.UNKNOWN
    token = _text(record.get("token"))
    if not token:
        return OwnerState.UNKNOWN
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


def _seconds(text: str) -> float | None:
    if not _is_moment(text):
        return None
    try:
        return moment_of(text).timestamp()
    except (ValueError, OverflowError):
        return None
