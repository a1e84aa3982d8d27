"""``batchpersist repair``: shows fixes, and applies them with ``--yes``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any, get_args

import click

from ..audit import Finding, FindingKind
from ..foreign_text import printable
from ..models import Durability
from ..options import LockPolicy
from ..repair import Fix, Prefer, RepairOptions, RepairReport, repair_root
from ..wording import number
from . import batch_options, source_options
from .audit import MEANINGS, NOTHING_TO_COMPARE, PAUSE_OPTION, audit_options, sample_lines, show_finding
from .batch_options import POOL_THRESHOLD
from .job import NO_NIGHTLY_OPTIONS, Job, run_job
from .output import print_event
from .params import SectionedCommand, add_options, option_section

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
"""What follows a count: ``3 x missing-manifest: written from the snapshot``."""

SHOWN_FAILURES = 5


def repair_lines(report: RepairReport) -> Iterator[str]:
    """The lines to print: findings with their fix, what remains, and the result as last line."""
    for kind in FindingKind:
        for fix in (*Fix, None):
            if count := report.found.counts[kind, fix]:
                yield f"{count:,} x {kind.value}: {_describe_fix(kind, fix, report.dry_run)}"
                yield from sample_lines(report.found, (kind, fix))
    yield from _remaining_lines(report)
    yield _last_line(report)


def _describe_fix(kind: FindingKind, fix: Fix | None, dry_run: bool) -> str:
    if fix is None:
        return _NO_FIX.get(kind, "left")
    return f"to be {_FIXES[fix]}" if dry_run else _FIXES[fix]


def _remaining_lines(report: RepairReport) -> Iterator[str]:
    for kind, count in report.left.counts.items():
        if any(fix is not None for other, fix in report.found.counts if other is kind):
            yield f"still there: {count:,} x {kind.value}: {MEANINGS[kind]}"
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
        return "Nothing to repair." if report.runs else NOTHING_TO_COMPARE
    if report.dry_run:
        to_do = report.findings - report.without_fix
        does_it = " --yes does it." if to_do else ""
        findings = number(report.findings, "finding")
        return f"{opening}{to_do:,} of {findings} to be repaired. Nothing was written.{does_it}"
    left = report.left.counts.total()
    kept = (
        f" What was replaced is kept in {printable(os.path.relpath(report.folder))}." if report.folder else ""
    )
    remains = f"{left:,} left" if left else "nothing is left"
    return f"{opening}{number(report.findings, 'finding')}: {remains}.{kept}"


_option = option_section("The repair")

_REPAIR_OPTIONS = (
    _option("-y", "--yes", is_flag=True, help="Do it; otherwise nothing is written."),
    _option(
        "--prefer",
        type=click.Choice(get_args(Prefer)),
        show_default="leave the run as it is",
        help="Whose text a run gets where its snapshot, its manifest or its summary differ.",
    ),
    _option(
        "--complete",
        is_flag=True,
        help="Give snapshots and manifests the members that a run's other texts have further at their end.",
    ),
)

_OPTIONS = (
    *_REPAIR_OPTIONS,
    *source_options.ROOTS,
    *source_options.KEYS,
    *source_options.TASK,
    *batch_options.WORKERS,
    *batch_options.DURABILITY,
    *batch_options.LOCKS,
    *batch_options.MAX_SNAPSHOT_SIZE,
    *POOL_THRESHOLD,
    *PAUSE_OPTION,
    *batch_options.DISPLAY,
)


@click.command(
    "repair", cls=SectionedCommand, short_help="Repair what an audit finds; says what it would do first."
)
@add_options(_OPTIONS)
def command(**params: Any) -> None:
    """Say what can be done about what `batchpersist audit` finds, and with --yes do it.

    No run is removed. What is replaced is kept in RUNS_DIR/.batchpersist/repair until the next repair, and
    files that cannot be read are set aside there for good. May be used beside a running orchestrator. Exit
    codes: 0 nothing to do, or all done; 3 something is left, or could not be looked at; 5 without --yes:
    something differs; 2 usage; 10 a root is missing; 11 a batch is running on this root; 130/143 interrupted.
    """
    with run_job(params | NO_NIGHTLY_OPTIONS) as job:
        _repair(job)


def _repair(job: Job) -> None:
    params = job.params
    options = RepairOptions(
        audit_options(params),
        prefer=params["prefer"],
        complete=params["complete"],
        durability=Durability(params["durability"]),
        lock_policy=LockPolicy(attempts=params["lock_attempts"], stale_seconds=params["lock_stale"]),
    )
    with job.display() as display:
        report = repair_root(
            options,
            dry_run=not params["yes"],
            on_event=display.show,
            on_finding=partial(_show_finding, params),
            should_stop=job.interruption.should_stop,
        )
    job.exit_code = job.interruption.exit_code if report.interrupted else report.exit_code
    if params["as_json"]:
        _print_summary_event(report, job.exit_code)
    else:
        job.print(repair_lines(report))


def _show_finding(params: dict[str, Any], finding: Finding, fix: Fix | None) -> None:
    show_finding(params, finding, fix=None if fix is None else fix.value)


def _print_summary_event(report: RepairReport, code: int) -> None:
    print_event(
        "summary",
        dry_run=report.dry_run,
        found=report.findings,
        without_fix=report.without_fix,
        left={kind.value: count for kind, count in report.left.counts.items()},
        failures={task_id: failure._asdict() for task_id, failure in report.failures.items()},
        folder=report.folder,
        exit_code=code,
    )
