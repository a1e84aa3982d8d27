"""What an audit found, in words."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from typing import TypeVar

from ..audit import AuditReport, Finding, FindingCounter, FindingKind
from ..foreign_text import printable
from ..report.sentences import number, skipped

K = TypeVar("K", bound=Hashable)

NOTHING_THERE = "Nothing was there to compare: the roots have no runs, or none that --task selects."

MEANING = {
    FindingKind.NOT_PERSISTED: "in the source, but neither in the snapshot nor in a manifest",
    FindingKind.MISSING_IN_SNAPSHOT: "a manifest or a run summary, but no entry in the snapshot",
    FindingKind.MISSING_MANIFEST: "an entry in the snapshot or a run summary, but no manifest",
    FindingKind.CONTENT_DIFFERS: "the same run with another content",
    FindingKind.DUPLICATE_RUN: "several entries of one run in a snapshot",
    FindingKind.UNSORTED: "a snapshot that is not in the order of its timestamps",
    FindingKind.WRONG_LAST_RUN_AT: "a snapshot whose lastRunAt is not its last entry's timestamp",
    FindingKind.WRONG_ID: "a file or an entry that says it belongs elsewhere",
    FindingKind.INVALID_SNAPSHOT: "cannot be read as a snapshot",
    FindingKind.INVALID_MANIFEST: "cannot be read as a completed run",
    FindingKind.LACKS_KEYS: (
        "valid JSON, but without the keys; --task-key, --run-key and --time-key name them"
    ),
    FindingKind.WRONG_FILE_TYPE: "something else stands in the place of a file or folder",
    FindingKind.UNSAFE_NAME: "an id that must not be part of a path",
    FindingKind.ORPHANED_TEMPORARY: "a temporary file that a dead process left",
    FindingKind.STALE_LOCK: "a lock that a dead process left",
    FindingKind.SNAPSHOT_TOO_LONG: (
        "a snapshot that Node.js cannot read: nothing more is recorded for its task"
    ),
    FindingKind.UNREADABLE: "could not be read, so it was not checked",
    FindingKind.INVALID_SOURCE: "a line or file of the source that is no completed run",
    FindingKind.SNAPSHOT_NEAR_LIMIT: (
        "a snapshot that is soon too long for Node.js: archive older runs of its task"
    ),
    FindingKind.ENRICHED: (
        "some texts of a run lack members at the end; a batch or `repair --complete` adds them"
    ),
    FindingKind.OTHER_LAYOUT: "the right content, but not laid out as JSON.stringify does it",
    FindingKind.FOREIGN_FILE: (
        "neither a file of the orchestrator's nor of batchpersist's, as far as they are known"
    ),
}


def audit_lines(report: AuditReport) -> Iterator[str]:
    """Lines for a person: the findings by kind, each kind with a few of them; the last line says it all."""
    if report.unknown_suffixes:
        yield skipped(report.unknown_suffixes)
    if report.is_empty and not report.interrupted:
        yield NOTHING_THERE
        return
    yield from finding_lines(report.findings)
    differences, unchecked = report.differences, report.unchecked
    opening = "Interrupted: " if report.interrupted else ""
    found = number(differences, "difference") if differences else "no difference"
    not_checked = f", {unchecked:,} not checked" if unchecked else ""
    next_step = " `batchpersist repair` says what it would do about it." if differences else ""
    compared = f"{number(report.runs, 'run')} of {number(report.tasks, 'task')}"
    enriched = report.counts.get(FindingKind.ENRICHED, 0)
    normal = f" {number(enriched, 'run')} with more members in some texts: normal." if enriched else ""
    yield f"{opening}{compared} compared: {found}{not_checked}.{normal}{next_step}"


def finding_lines(findings: FindingCounter[FindingKind]) -> Iterator[str]:
    """A heading and a few findings for each kind."""
    for kind in FindingKind:
        if kind in findings.counts:
            yield f"{findings.counts[kind]:,} x {kind.value}: {MEANING[kind]}"
            yield from sample_lines(findings, kind)


def sample_lines(findings: FindingCounter[K], group: K) -> Iterator[str]:
    """The findings of a group that are named, and how many more there are."""
    for finding in findings.samples[group]:
        yield f"    {describe_finding(finding)}"
    more = findings.counts[group] - len(findings.samples[group])
    if more:
        yield f"    ... and {more:,} more"


def describe_finding(finding: Finding) -> str:
    """What it concerns, where that is, and what is wrong with it."""
    detail = f": {printable(finding.detail)}" if finding.detail else ""
    name = run_name(finding.task_id, finding.run_id)
    path = printable(os.path.relpath(finding.path)) if finding.path else ""
    return f"{name} ({path}){detail}" if name else f"{path}{detail}"


def run_name(task_id: str, run_id: str) -> str:
    """``task/run``, or the task alone, or nothing."""
    return printable("/".join(filter(None, (task_id, run_id))))
