"""``batchpersist validate``: the input alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import click

from ..batch.validate import Validation, validate_sources
from ..errors import MissingKeyError
from ..foreign_text import printable
from ..models import place_of
from ..report.outcome_text import nothing_found, skipped
from ..sources import Reject
from ..wording import number
from . import batch_options, source_options
from .batch_command import UNATTENDED, Job, conduct
from .batch_options import POOL_THRESHOLD
from .output import emit
from .sections import Sectioned, declare
from .summary import other_keys


@click.command("validate", cls=Sectioned, short_help="Read sources, and name all that is no completed run.")
@declare(
    source_options.SOURCES,
    source_options.KEYS,
    source_options.SELECTION,
    source_options.EMPTY,
    batch_options.WORKERS,
    POOL_THRESHOLD,
    (*batch_options.PROGRESS, *batch_options.JSON, *batch_options.QUIET),
)
def command(sources: tuple[str, ...], **given: Any) -> None:
    """Read SOURCES as run would, and name each line that is no completed run, with the reason.

    Writes nothing, and needs no roots. What is valid here can be persisted. Exit codes: 0 all is valid,
    3 something is not, 2 usage, 10 a source is missing, 130/143 interrupted.
    """
    conduct(given | UNATTENDED | {"verbose": False}, partial(_validate, sources), reads_only=True)


def _validate(sources: tuple[str, ...], job: Job) -> int:
    given = job.given
    with job.display() as display:
        found = validate_sources(
            sources,
            keys=source_options.keys_of(given),
            selection=source_options.selection_of(given),
            workers=given["workers"],
            pool_runs=given["pool_threshold"],
            on_event=display.show,
            should_stop=job.interruption.__bool__,
        )
    code = job.exit_code_of(found)
    if given["as_json"]:
        emit("summary", **_as_dict(found), exit_code=code)
    else:
        job.print(_lines(found), code)
    return code


def _lines(found: Validation) -> Iterator[str]:
    yield from map(_describe, found.rejects)
    for message, count in found.causes():
        yield f"{count:,} x {printable(message)}"
    if found.unknown_suffixes:
        yield skipped(found.unknown_suffixes)
    lacking = [item.failure for item in found.rejects if item.failure.is_a(MissingKeyError)]
    if lacking and len(lacking) == found.discovered:
        yield other_keys(found.discovered, lacking[0].detail)
    parts = [
        f"{number(found.selected, 'run')} of {number(found.tasks, 'task')} valid",
        f"{found.invalid:,} invalid" if found.invalid else "",
        f"{found.superseded:,} superseded by a later line" if found.superseded else "",
        f"{found.filtered:,} filtered out" if found.filtered else "",
        f"{number(found.other_events, 'other event')} passed over" if found.other_events else "",
        f"{number(found.incomplete, 'incomplete run')} passed over" if found.incomplete else "",
    ]
    opening = "Interrupted: so far " if found.interrupted else ""
    nothing = "" if found.interrupted else nothing_found(found.discovered, found.filtered)
    yield f"{opening}{', '.join(part for part in parts if part)}. {nothing}".rstrip()


def _describe(reject: Reject) -> str:
    return printable(f"{place_of(reject.source, reject.line)}: {reject.failure}")


def _as_dict(found: Validation) -> dict[str, Any]:
    names = ("discovered", "invalid", "filtered", "superseded", "selected", "tasks", "bytes_read")
    passed_over = ("other_events", "other_manifests", "ignored_files", "incomplete")
    return {
        **{name: getattr(found, name) for name in names},
        "passed_over": {name: getattr(found, name) for name in passed_over},
        "unknown_suffixes": found.unknown_suffixes,
        "causes": [{"message": message, "count": count} for message, count in found.causes()],
    }
