"""What an audit found, in words."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from typing import TypeVar

from ..audit import AuditReport, Finding, Kind, Tally, Weight
from ..report.sentences import number, skipped
from ..report.wording import printable

K = TypeVar("K", bound=Hashable)

NOTHING_THERE = "Nothing was there to compare: the roots have no runs, or none that --task selects."

MEANING = {
    Kind.NOT_PERSISTED: "in the source, but neither in the snapshot nor in a manifest",
    Kind.MISSING_IN_SNAPSHOT: "a manifest or a run summary, but no entry in the snapshot",
    Kind.MISSING_MANIFEST: "an entry in the snapshot or a run summary, but no manifest",
    Kind.CONTENT_DIFFERS: "the same run with another content",
    Kind.DUPLICATE_RUN: "several entries of one run in a snapshot",
    Kind.UNSORTED: "a snapshot that is not in the order of its timestamps",
    Kind.WRONG_LAST_RUN_AT: "a snapshot whose lastRunAt is not its last entry's timestamp",
    Kind.WRONG_ID: "a file or an entry that says it belongs elsewhere",
    Kind.INVALID_SNAPSHOT: "cannot be read as a snapshot",
    Kind.INVALID_MANIFEST: "cannot be read as a completed run",
    Kind.LACKS_KEYS: "valid JSON, but without the keys; --task-key, --run-key and --time-key name them",
    Kind.WRONG_FILE_TYPE: "something else stands in the place of a file or folder",
    Kind.UNSAFE_NAME: "an id that must not be part of a path",
    Kind.ORPHANED_TEMPORARY: "a temporary file that a dead process left",
    Kind.STALE_LOCK: "a lock that a dead process left",
    Kind.SNAPSHOT_TOO_LONG: "a snapshot that Node.js cannot read: nothing more is recorded for its task",
    Kind.UNREADABLE: "could not be read, so it was not checked",
    Kind.INVALID_SOURCE: "a line or file of the source that is no completed run",
    Kind.SNAPSHOT_NEAR_LIMIT: "a snapshot that is soon too long for Node.js: archive older runs of its task",
    Kind.ENRICHED: "some texts of a run lack members at the end; a batch or `repair --complete` adds them",
    Kind.OTHER_LAYOUT: "the right content, but not laid out as JSON.stringify does it",
    Kind.FOREIGN_FILE: "neither a file of the orchestrator's nor of batchpersist's, as far as they are known",
}


def audit_lines(report: AuditReport) -> Iterator[str]:
    """Lines for a person: the findings by kind, each kind with a few of them; the last line says it all."""
    if report.unknown_suffixes:
        yield skipped(report.unknown_suffixes)
    if report.is_empty and not report.interrupted:
        yield NOTHING_THERE
        return
    yield from finding_lines(report.tally)
    differences, unchecked = report.of(Weight.DIFFERENCE), report.of(Weight.UNCHECKED)
    opening = "Interrupted: " if report.interrupted else ""
    found = number(differences, "difference") if differences else "no difference"
    not_checked = f", {unchecked:,} not checked" if unchecked else ""
    next_step = " `batchpersist repair` says what it would do about it." if differences else ""
    compared = f"{number(report.runs, 'run')} of {number(report.tasks, 'task')}"
    enriched = report.tally.counts.get(Kind.ENRICHED, 0)
    normal = f" {number(enriched, 'run')} with more members in some texts: normal." if enriched else ""
    yield f"{opening}{compared} compared: {found}{not_checked}.{normal}{next_step}"


def finding_lines(tally: Tally[Kind]) -> Iterator[str]:
    """A heading and a few findings for each kind."""
    for kind in Kind:
        if kind in tally.counts:
            yield f"{tally.counts[kind]:,} x {kind.value}: {MEANING[kind]}"
            yield from sample_lines(tally, kind)


def sample_lines(tally: Tally[K], group: K) -> Iterator[str]:
    """The findings of a group that are named, and how many more there are."""
    for finding in tally.samples[group]:
        yield f"    {describe_finding(finding)}"
    more = tally.counts[group] - len(tally.samples[group])
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
