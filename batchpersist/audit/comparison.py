"""What follows from the texts that a run has on its sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

from ..layout import Layout
from ..runs.jsontext import reading
from .models import Finding, Kind, Sign

UNKNOWN = b"?"
"""The text of a side that is there, but cannot be read, or not as this run: no run's text is like it."""


class Sides(NamedTuple):
    """A run's canonical text on each side; None where it has none there."""

    source: bytes | None
    summary: bytes | None
    """What the orchestrator keeps in its own folder of the run, and wrote last."""
    snapshot: bytes | None
    manifest: bytes | None

    @property
    def is_nowhere(self) -> bool:
        """Nothing is known of such a run but that its name is there."""
        return all(text is None or (text == UNKNOWN and side == "snapshot") for side, text in self._pairs)

    @property
    def known(self) -> dict[str, bytes]:
        """By the name of the side."""
        return {side: text for side, text in self._pairs if text is not None and text != UNKNOWN}

    @property
    def _pairs(self) -> Iterator[tuple[str, bytes | None]]:
        return zip(self._fields, self, strict=True)


def verdict(sides: Sides, task_id: str, run_id: str, layout: Layout) -> tuple[Sign, list[Finding]]:
    """The run's sign, and what is to be said of it beyond what is wrong with a single side.

    A run need not be in the sources: they are seldom all that there ever was. Nor need it have a summary.
    """
    texts = set(sides)
    if len(texts - {None}) == 1 and UNKNOWN not in texts and None not in (sides.snapshot, sides.manifest):
        return Sign.SAME, []  # as nearly all
    path, findings = layout.manifest(task_id, run_id), []
    texts_of = {side: reading(text) for side, text in sides.known.items()}
    ordered = by_growth(list(texts_of.values()))
    if ordered is None:
        evidence = blake2b(b"\0".join(text or b"" for text in sides), digest_size=16).digest()
        findings.append(Finding(Kind.CONTENT_DIFFERS, task_id, run_id, path, _odd_ones(texts_of), evidence))
    elif len(ordered) > 1:
        findings.append(Finding(Kind.ENRICHED, task_id, run_id, path, _poor_ones(texts_of, ordered[-1])))
    absent = list(_absent(sides))
    for kind in absent:
        at = layout.snapshot(task_id) if kind is Kind.MISSING_IN_SNAPSHOT else path
        findings.append(Finding(kind, task_id, run_id, at))
    if UNKNOWN in sides:
        return Sign.UNCHECKED, findings
    if ordered is None:
        return Sign.DIFFERS, findings
    if absent:
        return Sign.SOURCE_ONLY if absent == [Kind.NOT_PERSISTED] else Sign.MISSING, findings
    return Sign.ENRICHED if len(ordered) > 1 else Sign.SAME, findings


def by_growth(readings: Sequence[bytes]) -> list[bytes] | None:
    """The different ones among readings, each with further members behind those of the one before it.

    None where they differ otherwise. The orchestrator writes the texts of a run at three moments, while it
    adds members to one object.
    """
    ordered = sorted(set(readings), key=len)
    grown = all(map(_is_grown, ordered, ordered[1:]))
    return ordered if grown else None


def _is_grown(poor: bytes, rich: bytes) -> bool:
    # Canonical text: where the members of the one end, a comma follows in the other.
    return rich.startswith(poor.removesuffix(b"\n}") + b",\n")


def _absent(sides: Sides) -> Iterator[Kind]:
    """Where a run that is certain to be somewhere is missing."""
    if not sides.known:
        return
    if (sides.summary, sides.snapshot, sides.manifest) == (None, None, None):
        yield Kind.NOT_PERSISTED
        return
    if sides.snapshot is None:
        yield Kind.MISSING_IN_SNAPSHOT
    if sides.manifest is None:
        yield Kind.MISSING_MANIFEST


def _odd_ones(texts: dict[str, bytes]) -> str:
    """Which sides differ: the odd one out where all others agree."""
    for odd, text in texts.items():
        others = [name for name in texts if name != odd]
        if len(others) > 1 and len({texts[name] for name in others}) == 1 and texts[others[0]] != text:
            return f"{odd} differs from {_joined(others)}"
    return f"{_joined(list(texts))} {'all ' if len(set(texts.values())) > 2 else ''}differ"


def _poor_ones(texts: dict[str, bytes], richest: bytes) -> str:
    poor = _joined([name for name, text in texts.items() if text != richest])
    rich = _joined([name for name, text in texts.items() if text == richest])
    return f"more members in {rich} than in {poor}"


def _joined(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
