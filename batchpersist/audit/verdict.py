"""What follows from the texts that a run has on its sides."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from ..layout import Layout
from .findings import Finding, Kind, Sign

UNKNOWN = b"?"
"""The text of a side that is there, but cannot be read, or not as this run: no run's text is like it."""


class Sides(NamedTuple):
    """A run's canonical text on each side; None where it has none there."""

    source: bytes | None
    snapshot: bytes | None
    manifest: bytes | None


def verdict(sides: Sides, task_id: str, run_id: str, layout: Layout) -> tuple[Sign, list[Finding]]:
    """The run's sign, and what is to be said of it beyond what is wrong with a single side.

    A run need not be in the sources: they are seldom all that there ever was.
    """
    path = layout.manifest(task_id, run_id)
    findings = []
    known = {text for text in sides if text not in (None, UNKNOWN)}
    if len(known) > 1:
        evidence = blake2b(b"\0".join(text or b"" for text in sides), digest_size=16).digest()
        findings.append(Finding(Kind.CONTENT_DIFFERS, task_id, run_id, path, _words(sides), evidence))
    sign = Sign.DIFFERS if findings else Sign.SAME
    if sides.snapshot is None and sides.manifest is None:
        sign = Sign.SOURCE_ONLY
        findings.append(Finding(Kind.NOT_PERSISTED, task_id, run_id, path))
    elif sides.snapshot is None:
        sign = sign if findings else Sign.MISSING
        findings.append(Finding(Kind.MISSING_IN_SNAPSHOT, task_id, run_id, layout.snapshot(task_id)))
    elif sides.manifest is None:
        sign = sign if findings else Sign.MISSING
        findings.append(Finding(Kind.MISSING_MANIFEST, task_id, run_id, path))
    return (Sign.UNCHECKED if UNKNOWN in sides else sign), findings


def _words(sides: Sides) -> str:
    """Which sides differ: the odd one out where two agree."""
    names = {name: text for name, text in sides._asdict().items() if text not in (None, UNKNOWN)}
    for odd, text in names.items():
        others = [name for name in names if name != odd]
        if len(others) == 2 and names[others[0]] == names[others[1]] != text:
            return f"{odd} differs from {others[0]} and {others[1]}"
    return f"{' and '.join(names)} differ" if len(names) == 2 else "source, snapshot and manifest all differ"
