"""What a repair did, or would do, in words."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..audit import FindingKind
from ..foreign_text import printable
from ..repair import Fix, RepairReport
from ..report.sentences import number
from .audit_words import MEANING, NOTHING_THERE, sample_lines

_NO_FIX = {
    FindingKind.CONTENT_DIFFERS: "left: say which is right by --prefer, or run the source again",
    FindingKind.LACKS_KEYS: (
        "left: it parses, and may have other names for them (--task-key, --run-key, --time-key)"
    ),
    FindingKind.SNAPSHOT_TOO_LONG: "left: archive older runs of its task",
    FindingKind.WRONG_FILE_TYPE: "left: whoever put it there may need it",
    FindingKind.UNSAFE_NAME: "left: there is no place for it",
    FindingKind.UNREADABLE: "left: it could not be read",
}
_FIXES = {
    Fix.RECORD: "recorded in the snapshot, from the manifest or the run's summary",
    Fix.WRITE: "written, from the snapshot",
    Fix.TAKE_MANIFEST: "the snapshot's entry replaced by the manifest",
    Fix.TAKE_SNAPSHOT: "the manifest replaced by the snapshot's entry",
    Fix.TAKE_SUMMARY: "the snapshot's entry and the manifest replaced by the run's summary",
    Fix.COMPLETE: "given the text that has most members, in the snapshot and in the manifest",
    Fix.KEEP_ONE: "one entry kept: the one that is as the manifest, else the last",
    Fix.REORDER: "written anew, as recording its entries in turn leaves it",
    Fix.RECOVER: "set aside; written anew from what can be read of it, and from manifests",
    Fix.REWRITE: "set aside; written anew from what can be read of it, else from the snapshot",
    Fix.MOVE: "put where it belongs, if nothing stands there",
    Fix.REMOVE: "removed",
    Fix.CLEAR: "cleared, by the lock's protocol",
}
"""They follow a count: ``3 x missing-manifest: written from the snapshot``."""

SHOWN_FAILURES = 5


def repair_lines(report: RepairReport) -> Iterator[str]:
    """Lines for a person: what is done about which findings; the last one says it all."""
    for kind in FindingKind:
        for fix in (*Fix, None):
            if count := report.found.counts[kind, fix]:
                yield f"{count:,} x {kind.value}: {_describe_fix(kind, fix, report.dry_run)}"
                yield from sample_lines(report.found, (kind, fix))
    yield from _left_lines(report)
    yield _last_line(report)


def _describe_fix(kind: FindingKind, fix: Fix | None, dry_run: bool) -> str:
    if fix is None:
        return _NO_FIX.get(kind, "left")
    return f"to be {_FIXES[fix]}" if dry_run else _FIXES[fix]


def _left_lines(report: RepairReport) -> Iterator[str]:
    for kind, count in report.left.counts.items():
        if any(fix is not None for found, fix in report.found.counts if found is kind):
            yield f"still there: {count:,} x {kind.value}: {MEANING[kind]}"
            yield from sample_lines(report.left, kind)
    for task_id, failure in list(report.failures.items())[:SHOWN_FAILURES]:
        yield f"failed: {printable(task_id)}: {printable(str(failure))}"
    more = len(report.failures) - SHOWN_FAILURES
    if more > 0:
        yield f"... and {number(more, 'more task')} failed"


def _last_line(report: RepairReport) -> str:
    opening = "Interrupted: " if report.interrupted else ""
    if not report.findings:
        if report.interrupted:
            return "Interrupted before anything was repaired."
        return "Nothing to repair." if report.runs else NOTHING_THERE
    if report.dry_run:
        to_do = report.findings - report.without_fix
        does_it = " --yes does it." if to_do else ""
        found = number(report.findings, "finding")
        return f"{opening}{to_do:,} of {found} to be repaired. Nothing was written.{does_it}"
    left = report.left.counts.total()
    kept = (
        f" What was replaced is kept in {printable(os.path.relpath(report.folder))}." if report.folder else ""
    )
    remains = f"{left:,} left" if left else "nothing is left"
    return f"{opening}{number(report.findings, 'finding')}: {remains}.{kept}"
