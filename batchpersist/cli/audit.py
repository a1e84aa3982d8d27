"""``batchpersist audit``: what differs below the two roots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import click

from ..audit import AuditOptions, Finding, OnRun, RunStatus, audit_root
from ..context import ShouldStop
from ..locking.batchlock import holder_of
from .audit_words import audit_lines, describe_finding, run_name
from .options import Sectioned, declare, places, reading, section, showing, working
from .options.types import Output
from .output import emit, open_document, say
from .persisting import UNATTENDED, Job, conduct
from .run_options import POOL_THRESHOLD

_option = section("The audit")

PAUSE = (
    _option(
        "--pause",
        type=click.FloatRange(min=0),
        default=AuditOptions.pause_seconds,
        show_default=True,
        metavar="SECONDS",
        help="Before the second check, which has to confirm what the first one found.",
    ),
)

COMBINED = (
    _option(
        "--combined",
        type=Output(),
        metavar="FILE",
        help="Write a line a run: = the same everywhere, ~ but for further members at the end, "
        "+ in the source only, - missing on a side, "
        "* differs, ! not checked.",
    ),
)

AUDIT = (
    *reading.SOURCES_OR_NONE,
    *places.ROOTS,
    *reading.KEYS,
    *reading.TASKS,
    *reading.EMPTY,
    *working.WORKERS,
    *working.STALE,
    *working.SNAPSHOT_SIZE,
    *POOL_THRESHOLD,
    *PAUSE,
    *COMBINED,
    *showing.DISPLAY,
)


@click.command("audit", cls=Sectioned, short_help="Compare snapshots and manifests, and sources with both.")
@declare(AUDIT)
def command(sources: tuple[str, ...], **given: Any) -> None:
    """Compare the snapshots and manifests that stand with each other, and with SOURCES where given.

    Reads only, takes no lock, and may be used beside a running orchestrator: a difference is told once it
    was seen twice. Exit codes: 0 no difference, 3 none, but not all could be looked at, 5 differences,
    2 usage, 10 a source or a root is missing, 130/143 interrupted.
    """
    conduct(given | UNATTENDED, partial(_audit, sources), reads_only=True)


def audit_options(given: dict[str, Any]) -> AuditOptions:
    """The library's options from the command's, as click parsed them."""
    return AuditOptions(
        out_dir=given["out_dir"],
        runs_dir=given["runs_dir"],
        keys=reading.keys_of(given),
        tasks=given["tasks"],
        workers=given["workers"],
        pool_runs=given["pool_threshold"],
        pause_seconds=given["pause"],
        stale_seconds=given["lock_stale"],
        max_snapshot_units=given["max_snapshot_size"],
    )


def _audit(sources: tuple[str, ...], job: Job) -> int:
    options = audit_options(job.given)
    should_stop = job.interruption.__bool__
    with _combined(job.given["combined"], should_stop) as on_run, job.display() as display:
        report = audit_root(
            options,
            sources,
            on_event=display.show,
            on_finding=partial(show_finding, job.given),
            on_run=on_run,
            should_stop=should_stop,
        )
    code = job.exit_code_of(report)
    holder = holder_of(options.layout) if report.counts else None
    if holder is not None and not job.given["quiet"]:
        say(f"Note: {holder} is at work; what it has yet to write was found missing.", err=True)
    if job.given["as_json"]:
        counts = {kind.value: count for kind, count in report.counts.items()}
        emit(
            "summary",
            tasks=report.tasks,
            runs=report.runs,
            counts=counts,
            unknown_suffixes=report.unknown_suffixes,
            exit_code=code,
        )
    else:
        job.print(audit_lines(report), code)
    return code


def show_finding(given: dict[str, Any], finding: Finding, **more: str | None) -> None:
    """Show one finding as it comes, with --json or --verbose; ``more``: further members of the JSON."""
    if given["as_json"]:
        severity = finding.kind.severity.value
        named = {name: value for name, value in finding._asdict().items() if name != "evidence"}
        emit("finding", **{**named, "kind": finding.kind.value}, severity=severity, **more)
    elif given["verbose"]:
        say(f"{finding.kind.value}: {describe_finding(finding)}", err=True)


@contextmanager
def _combined(path: str | None, should_stop: ShouldStop) -> Iterator[OnRun | None]:
    """Write the file when the audit has ended: until then an older one stays."""
    if path is None:
        yield None
        return
    with open_document(path, should_stop) as file:

        def write(status: RunStatus, task_id: str, run_id: str) -> None:
            file.write(f"{status.value} {run_name(task_id, run_id)}\n".encode())

        yield write
