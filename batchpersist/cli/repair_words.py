"""What a repair did, or would do, in words."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..audit import Kind
from ..repair import Remedy, RepairReport
from ..report.sentences import number
from ..report.wording import printable
from .audit_words import MEANING, NOTHING_THERE, sample_lines

_NO_REMEDY = {
    Kind.CONTENT_DIFFERS: "left: say which is right by --prefer, or run the source again",
    Kind.LACKS_KEYS: "left: it parses, and may have other names for them (--task-key, --run-key, --time-key)",
    Kind.SNAPSHOT_TOO_LONG: "left: archive older runs of its task",
    Kind.WRONG_FILE_TYPE: "left: whoever put it there may need it",
    Kind.UNSAFE_NAME: "left: there is no place for it",
    Kind.UNREADABLE: "left: it could not be read",
}
SHOWN_FAILURES = 5


def repair_lines(report: RepairReport) -> Iterator[str]:
    """Lines for a person: what is done about which findings; the last one says it all."""
    for kind in Kind:
        for remedy in (*Remedy, None):
            if count := report.found.counts[kind, remedy]:
                yield f"{count:,} x {kind.value}: {_words(kind, remedy, report.dry_run)}"
                yield from sample_lines(report.found, (kind, remedy))
    yield from _left_lines(report)
    yield _verdict(report)


def _words(kind: Kind, remedy: Remedy | None, dry: bool) -> str:
    if remedy is None:
        return _NO_REMEDY.get(kind, "left")
    return f"to be {remedy.value}" if dry else remedy.value


def _left_lines(report: RepairReport) -> Iterator[str]:
    for kind, count in report.left.counts.items():
        if any(remedy is not None for found, remedy in report.found.counts if found is kind):
            yield f"still there: {count:,} x {kind.value}: {MEANING[kind]}"
            yield from sample_lines(report.left, kind)
    for task_id, failure in list(report.failures.items())[:SHOWN_FAILURES]:
        yield f"failed: {printable(task_id)}: {printable(str(failure))}"
    more = len(report.failures) - SHOWN_FAILURES
    if more > 0:
        yield f"... and {number(more, 'more task')} failed"


def _verdict(report: RepairReport) -> str:
    opening = "Interrupted: " if report.interrupted else ""
    if not report.findings:
        if report.interrupted:
            return "Interrupted before anything was repaired."
        return "Nothing to repair." if report.runs else NOTHING_THERE
    if report.dry_run:
        to_do = report.findings - report.without_remedy
        does_it = " --yes does it." if to_do else ""
        found = number(report.findings, "finding")
        return f"{opening}{to_do:,} of {found} to be repaired. Nothing was written.{does_it}"
    left = report.left.counts.total()
    kept = (
        f" What was replaced is kept in {printable(os.path.relpath(report.folder))}." if report.folder else ""
    )
    remains = f"{left:,} left" if left else "nothing is left"
    return f"{opening}{number(report.findings, 'finding')}: {remains}.{kept}"
