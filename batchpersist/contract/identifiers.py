"""Which taskIds and runIds may become part of a path (docs/formats.md, "Identifiers").

The rules hold on every system alike, so that a tree made on one can be copied to any
other. Device names are found as the orchestrator finds them: an extension, or white space before
it, makes no difference, nor does case; both are JavaScript's. As Microsoft's "Naming Files, Paths, and
Namespaces" has it, the superscript digits 1 to 3 count as digits besides.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from ..errors import UnsafeIdentifierError

MAX_NAME_BYTES = 255
"""Of one file name, on every file system in common use."""

LONGEST_SUFFIX = ".lock.acquire"
"""What is appended to a taskId (Layout.task_lock_gate). A runId is a folder's name as it is."""

LOCK_SUFFIXES = (".lock", ".lock.acquire")
"""A task ``a.lock`` would have its folder where the lock of the task ``a`` belongs, for ever held."""

JAVASCRIPT_WHITESPACE = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""What JavaScript's ``trim`` takes away, not quite what Python's ``strip`` does."""

_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [port + digit for port in ("COM", "LPT") for digit in "123456789\xb9\xb2\xb3"]
)

_RULES = (
    ("is empty", r"\A\Z"),
    ("contains a control character", r"[\x00-\x1f\x7f]"),
    ("contains a character that is not allowed in file names", r'[<>:"|?*/\\]'),
    ("contains a lone surrogate", r"[\ud800-\udfff]"),
    ("begins with a dot", r"\A\."),
    ("ends with a dot or a space", r"[. ]\Z"),
)
_broken_rule = re.compile("|".join(f"({pattern})" for _, pattern in _RULES)).search

# Nearly all ids look like this, and keep all rules at a tenth of the cost of trying each.
_ascii_device = "|".join(re.escape(name) for name in sorted(_DEVICES) if name.isascii())
_plain = re.compile(rf"(?!(?ai:{_ascii_device})(?:\.|\Z))[A-Za-z0-9][A-Za-z0-9_.-]{{0,99}}(?<!\.)").fullmatch


@lru_cache(maxsize=4096)
def check_task_id(task_id: str) -> None:
    """Raise UnsafeIdentifierError, which names the rule, unless the id can be a task's folder and lock."""
    _check("task id", task_id, MAX_NAME_BYTES - len(LONGEST_SUFFIX))
    if task_id.lower().endswith(LOCK_SUFFIXES):
        raise UnsafeIdentifierError("task id ends like a lock file's name", _shown(task_id))


def check_run_id(run_id: str) -> None:
    """Raise UnsafeIdentifierError, which names the rule, unless the id can be the name of a run's folder."""
    _check("run id", run_id, MAX_NAME_BYTES)


@lru_cache(maxsize=1 << 16)
def folded(name: str) -> str:
    """As a file system may compare names: Unicode's caseless matching, which is at least as coarse."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _check(kind: str, value: str, max_bytes: int) -> None:
    if _plain(value):
        return
    broken = _broken_rule(value)
    if broken is not None and broken.lastindex is not None:
        raise UnsafeIdentifierError(f"{kind} {_RULES[broken.lastindex - 1][0]}", _shown(value))
    if value.partition(".")[0].rstrip(JAVASCRIPT_WHITESPACE).upper() in _DEVICES:
        raise UnsafeIdentifierError(f"{kind} is a Windows device name", _shown(value))
    if len(value.encode()) > max_bytes:
        raise UnsafeIdentifierError(f"{kind} is longer than {max_bytes} bytes", _shown(value))


def _shown(value: str) -> str:
    """The id in printable ASCII, cut short."""
    return ascii(value if len(value) <= 80 else value[:80] + "...")
