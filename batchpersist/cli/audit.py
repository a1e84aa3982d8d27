"""``batchpersist audit``: shows the differences between snapshots, manifests and sources."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import click

from ..audit import (
    AuditOptions,
    AuditReport,
    Finding,
    FindingCounter,
    FindingKind,
    OnRun,
    RunStatus,
    audit_root,
)
from ..context import ShouldStop
from ..foreign_text import printable
from ..locks import holder_of
from ..report.outcome_text import skipped
from ..wording import number
from . import batch_options, source_options
from .batch_options import POOL_THRESHOLD
from .job import NO_NIGHTLY_OPTIONS, Job, run_job
from .output import open_document, print_event, print_line
from .params import OutputType, SectionedCommand, add_options, option_section

K = TypeVar("K", bound=Hashable)

NOTHING_TO_COMPARE = "Nothing was there to compare: the roots have no runs, or none that --task selects."

MEANINGS = {
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
    """The lines to print: findings by kind, a few of each, and the result as last line."""
    if report.unknown_suffixes:
        yield skipped(report.unknown_suffixes)
    if report.is_empty and not report.interrupted:
        yield NOTHING_TO_COMPARE
        return
    yield from finding_lines(report.findings)
    differences, unchecked = report.differences, report.unchecked
    opening = "Interrupted: " if report.interrupted else ""
    result = number(differences, "difference") if differences else "no difference"
    not_checked = f", {unchecked:,} not checked" if unchecked else ""
    next_step = " `batchpersist repair` says what it would do about it." if differences else ""
    compared = f"{number(report.runs, 'run')} of {number(report.tasks, 'task')}"
    enriched = report.counts.get(FindingKind.ENRICHED, 0)
    normal = f" {number(enriched, 'run')} with more members in some texts: normal." if enriched else ""
    yield f"{opening}{compared} compared: {result}{not_checked}.{normal}{next_step}"


def finding_lines(findings: FindingCounter[FindingKind]) -> Iterator[str]:
    """For each kind: a heading and a few findings."""
    for kind in FindingKind:
        if kind in findings.counts:
            yield f"{findings.counts[kind]:,} x {kind.value}: {MEANINGS[kind]}"
            yield from sample_lines(findings, kind)


def sample_lines(findings: FindingCounter[K], group: K) -> Iterator[str]:
    """The findings of a group that were kept as samples, and the number of others."""
    for finding in findings.samples[group]:
        yield f"    {describe_finding(finding)}"
    more = findings.counts[group] - len(findings.samples[group])
    if more:
        yield f"    ... and {more:,} more"


def describe_finding(finding: Finding) -> str:
    """Describe a finding: task and run, path, and what is wrong."""
    detail = f": {printable(finding.detail)}" if finding.detail else ""
    name = run_name(finding.task_id, finding.run_id)
    path = printable(os.path.relpath(finding.path)) if finding.path else ""
    return f"{name} ({path}){detail}" if name else f"{path}{detail}"


def run_name(task_id: str, run_id: str) -> str:
    """``task/run``, or the task alone, or nothing."""
    return printable("/".join(filter(None, (task_id, run_id))))


_option = option_section("The audit")

PAUSE_OPTION = (
    _option(
        "--pause",
        type=click.FloatRange(min=0),
        default=AuditOptions.pause_seconds,
        show_default=True,
        metavar="SECONDS",
        help="Before the second check, which has to confirm what the first one found.",
    ),
)

_COMBINED_OPTION = (
    _option(
        "--combined",
        type=OutputType(),
        metavar="FILE",
        help="Write a line a run: = the same everywhere, ~ but for further members at the end, "
        "+ in the source only, - missing on a side, "
        "* differs, ! not checked.",
    ),
)

_OPTIONS = (
    *source_options.OPTIONAL_SOURCES,
    *source_options.ROOTS,
    *source_options.KEYS,
    *source_options.TASK,
    *source_options.FAIL_IF_EMPTY,
    *batch_options.WORKERS,
    *batch_options.LOCK_STALE,
    *batch_options.MAX_SNAPSHOT_SIZE,
    *POOL_THRESHOLD,
    *PAUSE_OPTION,
    *_COMBINED_OPTION,
    *batch_options.DISPLAY,
)


@click.command(
    "audit", cls=SectionedCommand, short_help="Compare snapshots and manifests, and sources with both."
)
@add_options(_OPTIONS)
def command(sources: tuple[str, ...], **params: Any) -> None:
    """Compare the snapshots and manifests that stand with each other, and with SOURCES where given.

    Reads only, takes no lock, and may be used beside a running orchestrator: a difference is told once it
    was seen twice. Exit codes: 0 no difference, 3 none, but not all could be looked at, 5 differences,
    2 usage, 10 a source or a root is missing, 130/143 interrupted.
    """
    with run_job(params | NO_NIGHTLY_OPTIONS, reads_only=True) as job:
        _audit(sources, job)


def audit_options(params: dict[str, Any]) -> AuditOptions:
    """Make the library's options from the command's, as click parsed them."""
    return AuditOptions(
        out_dir=params["out_dir"],
        runs_dir=params["runs_dir"],
        keys=source_options.keys_from(params),
        tasks=params["tasks"],
        workers=params["workers"],
        pool_runs=params["pool_threshold"],
        pause_seconds=params["pause"],
        stale_seconds=params["lock_stale"],
        max_snapshot_units=params["max_snapshot_size"],
    )


def _audit(sources: tuple[str, ...], job: Job) -> None:
    options = audit_options(job.params)
    should_stop = job.interruption.should_stop
    with _open_combined(job.params["combined"], should_stop) as on_run, job.display() as display:
        report = audit_root(
            options,
            sources,
            on_event=display.show,
            on_finding=partial(show_finding, job.params),
            on_run=on_run,
            should_stop=should_stop,
        )
    job.set_exit_code(report)
    holder = holder_of(options.layout) if report.counts else None
    if holder is not None and not job.params["quiet"]:
        print_line(f"Note: {holder} is at work; what it has yet to write was found missing.", err=True)
    if job.params["as_json"]:
        counts = {kind.value: count for kind, count in report.counts.items()}
        print_event(
            "summary",
            tasks=report.tasks,
            runs=report.runs,
            counts=counts,
            unknown_suffixes=report.unknown_suffixes,
            exit_code=job.exit_code,
        )
    else:
        job.print(audit_lines(report))


def show_finding(params: dict[str, Any], finding: Finding, **more: str | None) -> None:
    """Print a finding with ``--json`` or ``-v``. ``more``: further members of the JSON event."""
    if params["as_json"]:
        severity = finding.kind.severity.value
        named = {name: value for name, value in finding._asdict().items() if name != "evidence"}
        print_event("finding", **{**named, "kind": finding.kind.value}, severity=severity, **more)
    elif params["verbose"]:
        print_line(f"{finding.kind.value}: {describe_finding(finding)}", err=True)


@contextmanager
def _open_combined(path: str | None, should_stop: ShouldStop) -> Iterator[OnRun | None]:
    """Open the file of ``--combined``. An older one stays until the audit has ended."""
    if path is None:
        yield None
        return
    with open_document(path, should_stop) as file:

        def write(status: RunStatus, task_id: str, run_id: str) -> None:
            file.write(f"{status.value} {run_name(task_id, run_id)}\n".encode())

        yield write
