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
    source, snapshot, manifest = sides
    if snapshot == manifest and _is_known(manifest) and source in (None, manifest):
        return Sign.SAME, []  # as nearly all
    path, findings = layout.manifest(task_id, run_id), []
    differ = len({text for text in sides if _is_known(text)}) > 1
    if differ:
        evidence = blake2b(b"\0".join(text or b"" for text in sides), digest_size=16).digest()
        findings.append(Finding(Kind.CONTENT_DIFFERS, task_id, run_id, path, _words(sides), evidence))
    absent = _absent(sides)
    if absent is not None:
        at = layout.snapshot(task_id) if absent is Kind.MISSING_IN_SNAPSHOT else path
        findings.append(Finding(absent, task_id, run_id, at))
    if UNKNOWN in sides:
        return Sign.UNCHECKED, findings
    if differ:
        return Sign.DIFFERS, findings
    return {None: Sign.SAME, Kind.NOT_PERSISTED: Sign.SOURCE_ONLY}.get(absent, Sign.MISSING), findings


def _is_known(text: bytes | None) -> bool:
    return text is not None and text != UNKNOWN


def _absent(sides: Sides) -> Kind | None:
    """Where a run that is certain to be somewhere is missing."""
    if not any(map(_is_known, sides)):
        return None
    if sides.snapshot is None:
        return Kind.NOT_PERSISTED if sides.manifest is None else Kind.MISSING_IN_SNAPSHOT
    return Kind.MISSING_MANIFEST if sides.manifest is None else None


def _words(sides: Sides) -> str:
    """Which sides differ: the odd one out where two agree."""
    names = {name: text for name, text in sides._asdict().items() if _is_known(text)}
    for odd, text in names.items():
        others = [name for name in names if name != odd]
        if len(others) == 2 and names[others[0]] == names[others[1]] != text:
            return f"{odd} differs from {others[0]} and {others[1]}"
    return f"{' and '.join(names)} differ" if len(names) == 2 else "source, snapshot and manifest all differ"
