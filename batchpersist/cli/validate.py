"""``batchpersist validate``: reads sources, and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ..batch.validate import Validation, validate_sources
from ..errors import MissingKeyError
from ..foreign_text import printable
from ..models import Reject, place_of
from ..report.outcome_text import nothing_found, skipped
from ..wording import number
from . import batch_options, source_options
from .batch_options import POOL_THRESHOLD
from .job import NO_NIGHTLY_OPTIONS, Job, run_job
from .output import print_event
from .params import SectionedCommand, add_options
from .summary import missing_keys_hint


@click.command(
    "validate", cls=SectionedCommand, short_help="Read sources, and name all that is no completed run."
)
@add_options(
    source_options.SOURCES,
    source_options.KEYS,
    source_options.SELECTION,
    source_options.FAIL_IF_EMPTY,
    batch_options.WORKERS,
    POOL_THRESHOLD,
    (*batch_options.PROGRESS, *batch_options.JSON, *batch_options.QUIET),
)
def command(sources: tuple[str, ...], **params: Any) -> None:
    """Read SOURCES as run would, and name each line that is no completed run, with the reason.

    Writes nothing, and needs no roots. What is valid here can be persisted. Exit codes: 0 all is valid,
    3 something is not, 2 usage, 10 a source is missing, 130/143 interrupted.
    """
    with run_job(params | NO_NIGHTLY_OPTIONS | {"verbose": 0}, reads_only=True) as job:
        _validate(sources, job)


def _validate(sources: tuple[str, ...], job: Job) -> None:
    params = job.params
    with job.display() as display:
        validation = validate_sources(
            sources,
            keys=source_options.keys_from(params),
            selection=source_options.selection_from(params),
            workers=params["workers"],
            pool_runs=params["pool_threshold"],
            on_event=display.show,
            should_stop=job.interruption.should_stop,
        )
    job.set_exit_code(validation)
    if params["as_json"]:
        print_event("summary", **_as_dict(validation), exit_code=job.exit_code)
    else:
        job.print(_summary_lines(validation))


def _summary_lines(validation: Validation) -> Iterator[str]:
    yield from map(_describe, validation.rejects)
    for message, count in validation.causes():
        yield f"{count:,} x {printable(message)}"
    if validation.unknown_suffixes:
        yield skipped(validation.unknown_suffixes)
    missing = [item.failure for item in validation.rejects if item.failure.is_a(MissingKeyError)]
    if missing and len(missing) == validation.discovered:
        yield missing_keys_hint(validation.discovered, missing[0].detail)
    parts = [
        f"{number(validation.selected, 'run')} of {number(validation.tasks, 'task')} valid",
        f"{validation.invalid:,} invalid" if validation.invalid else "",
        f"{validation.superseded:,} superseded by a later line" if validation.superseded else "",
        f"{validation.filtered:,} filtered out" if validation.filtered else "",
        f"{number(validation.other_events, 'other event')} passed over" if validation.other_events else "",
        f"{number(validation.incomplete, 'incomplete run')} passed over" if validation.incomplete else "",
    ]
    opening = "Interrupted: so far " if validation.interrupted else ""
    nothing = "" if validation.interrupted else nothing_found(validation.discovered, validation.filtered)
    yield f"{opening}{', '.join(part for part in parts if part)}. {nothing}".rstrip()


def _describe(reject: Reject) -> str:
    return printable(f"{place_of(reject.source, reject.line)}: {reject.failure}")


def _as_dict(validation: Validation) -> dict[str, Any]:
    names = ("discovered", "invalid", "filtered", "superseded", "selected", "tasks", "bytes_read")
    passed_over = ("other_events", "other_manifests", "ignored_files", "incomplete")
    return {
        **{name: getattr(validation, name) for name in names},
        "passed_over": {name: getattr(validation, name) for name in passed_over},
        "unknown_suffixes": validation.unknown_suffixes,
        "causes": [{"message": message, "count": count} for message, count in validation.causes()],
    }
