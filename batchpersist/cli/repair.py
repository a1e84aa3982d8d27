"""``batchpersist repair``: says what it would do about what differs, and does it with ``--yes``."""

from __future__ import annotations

from functools import partial
from typing import Any, get_args

import click

from ..audit import Finding
from ..models import Durability
from ..options import LockPolicy
from ..repair import Fix, Prefer, RepairOptions, RepairReport, repair_root
from .audit import PAUSE, audit_options, show_finding
from .options import Sectioned, declare, places, reading, section, showing, working
from .output import emit
from .persisting import UNATTENDED, Job, conduct
from .repair_words import repair_lines
from .run_options import POOL_THRESHOLD

_option = section("The repair")

YES = (
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

REPAIR = (
    *YES,
    *places.ROOTS,
    *reading.KEYS,
    *reading.TASKS,
    *working.WORKERS,
    *working.DURABILITY,
    *working.LOCKS,
    *working.SNAPSHOT_SIZE,
    *POOL_THRESHOLD,
    *PAUSE,
    *showing.DISPLAY,
)


@click.command("repair", cls=Sectioned, short_help="Repair what an audit finds; says what it would do first.")
@declare(REPAIR)
def command(**given: Any) -> None:
    """Say what can be done about what `batchpersist audit` finds, and with --yes do it.

    No run is removed. What is replaced is kept in RUNS_DIR/.batchpersist/repair until the next repair, and
    files that cannot be read are set aside there for good. May be used beside a running orchestrator. Exit
    codes: 0 nothing to do, or all done; 3 something is left, or could not be looked at; 5 without --yes:
    something differs; 2 usage; 10 a root is missing; 11 a batch is running on this root; 130/143 interrupted.
    """
    conduct(given | UNATTENDED, _repair)


def _repair(job: Job) -> int:
    given = job.given
    options = RepairOptions(
        audit_options(given),
        prefer=given["prefer"],
        complete=given["complete"],
        durability=Durability(given["durability"]),
        lock_policy=LockPolicy(attempts=given["lock_attempts"], stale_seconds=given["lock_stale"]),
    )
    with job.display() as display:
        report = repair_root(
            options,
            dry_run=not given["yes"],
            on_event=display.show,
            on_finding=partial(_show_finding, given),
            should_stop=job.interruption.__bool__,
        )
    code = job.interruption.exit_code if report.interrupted else report.exit_code
    if given["as_json"]:
        _emit_summary(report, code)
    else:
        job.print(repair_lines(report), code)
    return code


def _show_finding(given: dict[str, Any], finding: Finding, fix: Fix | None) -> None:
    show_finding(given, finding, fix=None if fix is None else fix.value)


def _emit_summary(report: RepairReport, code: int) -> None:
    emit(
        "summary",
        dry_run=report.dry_run,
        found=report.findings,
        without_fix=report.without_fix,
        left={kind.value: count for kind, count in report.left.counts.items()},
        failures={task_id: failure._asdict() for task_id, failure in report.failures.items()},
        folder=report.folder,
        exit_code=code,
    )
