"""The check of one run: its texts in source, run summary, snapshot and manifest compared."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

from ..contract.json_text import reading
from ..contract.run_parser import order_by_growth
from ..paths import Layout
from .models import Finding, FindingKind, RunStatus

_log = logging.getLogger(__name__)

UNREADABLE = b"?"
"""The text of a side that exists, but cannot be read, or is not this run: no run has this text."""


class RunTexts(NamedTuple):
    """A run's canonical text on each side; None where the side does not have the run."""

    source: bytes | None
    summary: bytes | None
    """The orchestrator keeps it in its own folder of the run, and writes it last."""
    snapshot: bytes | None
    manifest: bytes | None

    @property
    def is_nowhere(self) -> bool:
        """Whether no side has the run; an unreadable snapshot may or may not have it."""
        return all(text is None or (text == UNREADABLE and side == "snapshot") for side, text in self._sides)

    @property
    def readable(self) -> dict[str, bytes]:
        """Name of the side -> text, of the sides that could be read."""
        return {side: text for side, text in self._sides if text is not None and text != UNREADABLE}

    @property
    def _sides(self) -> Iterator[tuple[str, bytes | None]]:
        return zip(self._fields, self, strict=True)


def compare_texts(
    texts: RunTexts, task_id: str, run_id: str, layout: Layout
) -> tuple[RunStatus, list[Finding]]:
    """The run's status, and the findings beyond what is wrong with a single side.

    A run need not be in the sources: they seldom hold all that there ever was. Nor need it have a summary.
    """
    distinct = set(texts)
    is_on_both_sides = None not in (texts.snapshot, texts.manifest)
    if is_on_both_sides and len(distinct - {None}) == 1 and UNREADABLE not in distinct:
        return RunStatus.SAME, []  # the common case
    readings = {side: reading(text) for side, text in texts.readable.items()}
    ordered = order_by_growth(list(readings.values()))
    missing = list(_missing_sides(texts))
    run = Finding(FindingKind.CONTENT_DIFFERS, task_id, run_id, layout.manifest(task_id, run_id))
    findings = list(_content_findings(run, texts, readings, ordered))
    for kind in missing:
        path = layout.snapshot(task_id) if kind is FindingKind.MISSING_IN_SNAPSHOT else run.path
        findings.append(run._replace(kind=kind, path=path))
    return _status(texts, ordered, missing), findings


def _content_findings(
    run: Finding, texts: RunTexts, readings: dict[str, bytes], ordered: list[bytes] | None
) -> Iterator[Finding]:
    if ordered is None:
        _log_first_difference(run, readings)
        evidence = blake2b(b"\0".join(text or b"" for text in texts), digest_size=16).digest()
        yield run._replace(detail=_describe_difference(readings), evidence=evidence)
    elif len(ordered) > 1:
        yield run._replace(kind=FindingKind.ENRICHED, detail=_describe_growth(readings, ordered[-1]))


def _status(texts: RunTexts, ordered: list[bytes] | None, missing: list[FindingKind]) -> RunStatus:
    if UNREADABLE in texts:
        return RunStatus.UNCHECKED
    if ordered is None:
        return RunStatus.DIFFERS
    if missing:
        is_new = missing == [FindingKind.NOT_PERSISTED]
        return RunStatus.SOURCE_ONLY if is_new else RunStatus.MISSING
    return RunStatus.ENRICHED if len(ordered) > 1 else RunStatus.SAME


def _missing_sides(texts: RunTexts) -> Iterator[FindingKind]:
    """Where a run that some side certainly has is missing."""
    if not texts.readable:
        return
    if (texts.summary, texts.snapshot, texts.manifest) == (None, None, None):
        yield FindingKind.NOT_PERSISTED
        return
    if texts.snapshot is None:
        yield FindingKind.MISSING_IN_SNAPSHOT
    if texts.manifest is None:
        yield FindingKind.MISSING_MANIFEST


def _describe_difference(texts: dict[str, bytes]) -> str:
    """Which sides differ: the odd one out where all others agree."""
    for odd, text in texts.items():
        others = [side for side in texts if side != odd]
        if len(others) > 1 and len({texts[side] for side in others}) == 1 and texts[others[0]] != text:
            return f"{odd} differs from {_joined(others)}"
    return f"{_joined(list(texts))} {'all ' if len(set(texts.values())) > 2 else ''}differ"


def _describe_growth(texts: dict[str, bytes], longest: bytes) -> str:
    fewer = _joined([side for side, text in texts.items() if text != longest])
    more = _joined([side for side, text in texts.items() if text == longest])
    return f"more members in {more} than in {fewer}"


def _joined(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _log_first_difference(run: Finding, texts: dict[str, bytes]) -> None:
    if not _log.isEnabledFor(logging.DEBUG):
        return
    lines = {side: text.splitlines() for side, text in texts.items()}
    rows = range(max(map(len, lines.values())))
    row = next(row for row in rows if len({tuple(text[row : row + 1]) for text in lines.values()}) > 1)
    found = {side: b"".join(text[row : row + 1])[:120] for side, text in lines.items()}
    name = f"{run.task_id}/{run.run_id}"
    _log.debug("%s: the texts differ from line %d of the run on: %s", name, row + 1, found)
