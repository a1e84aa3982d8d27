"""The owner record in a lock file, and whether its writer is gone (docs/formats.md, "Task lock")."""

from __future__ import annotations

import os
import socket
import uuid
from typing import Annotated, Literal

import msgspec

from ..moments import moment_of, utc_text
from ..processes import is_running

KIND: Literal["codex-lock-owner"] = "codex-lock-owner"


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock file. The fields without a default are what makes a text an owner record."""

    schema_version: int = 1
    kind: Literal["codex-lock-owner"]
    token: str
    task_id: str = ""
    pid: Annotated[int, msgspec.Meta(gt=0, lt=2**31)]  # 0 and below would ask kill(2) about a whole group
    host: str
    acquired_at: str = ""
    stale_ms: float = 0

    def encode(self) -> bytes:
        """The one line of JSON that stands in the lock file."""
        return msgspec.json.encode(self) + b"\n"


class _Claim(msgspec.Struct):
    """The least that an owner record says."""

    kind: Literal["codex-lock-owner"]
    host: str


def this_process(task_id: str, stale_seconds: float) -> Owner:
    """A new record of this process, with a token of its own, acquired now."""
    return Owner(
        kind=KIND,
        token=str(uuid.uuid4()),
        task_id=task_id,
        pid=os.getpid(),
        host=socket.gethostname(),
        acquired_at=utc_text(),
        stale_ms=round(stale_seconds * 1000),
    )


def parse(content: bytes) -> Owner | None:
    """The owner record in ``content``; None where it is none, whatever else it is. Never raises."""
    try:
        return msgspec.json.decode(content, type=Owner)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def names_another_host(content: bytes) -> bool:
    """Whether ``content``, no owner record otherwise (a field is missing or odd), claims to be another
    host's: whether its owner lives cannot be told from here."""
    try:
        claim = msgspec.json.decode(content, type=_Claim)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return claim.host != socket.gethostname()


def is_gone(owner: Owner) -> bool:
    """True only where it is certain that the process that wrote ``owner`` exists no more.

    That is: it ran on this host, and its pid is free or belongs to a process that started after
    ``acquired_at``. Whatever cannot be told counts as alive: another host, a process that may not
    be signalled, a zombie (its threads may run on), a start time or ``acquired_at`` that cannot be
    read. A process in another pid namespace under the same host name cannot be seen and would be
    taken for gone; what protects its lock is that it keeps the file's mtime fresh.
    """
    return owner.host == socket.gethostname() and not is_running(owner.pid, _seconds(owner.acquired_at))


def _seconds(text: str) -> float | None:
    try:
        moment = moment_of(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()
