"""``batchpersist run``: the main job."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Any

import click

from ..batch import run_batch
from ..errors import BatchLockedError, BatchPersistError, exit_code_of, failure_of
from ..options import BatchOptions
from ..preview import preview_batch
from .options import Sectioned, declare
from .output import emit, say
from .progress import Display, choose_display
from .run_options import RUN, batch_options
from .signals import Interruption, StopNowError, interruptible
from .words import preview_lines, summary_lines


@click.command(
    "run", cls=Sectioned, short_help="Persist the completed runs in files, folders or standard input."
)
@declare(RUN)
def command(sources: tuple[str, ...], **given: Any) -> None:
    """Persist the completed runs in SOURCES: files, folders, or - for standard input.

    Reads .json, .jsonl and .ndjson (also .gz and .zst), .parquet, .arrow and .feather; a folder of
    run manifests is a source too. Exit codes: 0 all persisted, 1 unexpected error, 2 usage,
    3 some runs failed or were invalid, 4 stopped by the failure policy, 10 a source is missing,
    11 another batch holds the root, 130/143 interrupted.
    """
    options = batch_options(given)
    work = _preview if given["dry_run"] else _persist
    with interruptible() as interruption:
        try:
            code = work(sources, options, given, interruption)
        except StopNowError:
            say("Stopped at once. The same command again does what is left.", err=True)
            code = interruption.exit_code
        except (BatchPersistError, OSError) as error:
            if interruption and isinstance(error, BatchLockedError):
                say("Interrupted while it waited. Nothing was done.", err=True)
                click.get_current_context().exit(interruption.exit_code)
            if given["as_json"]:
                failure = failure_of(error)
                emit("error", stage="batch", **failure._asdict(), exit_code=exit_code_of(error))
            raise
    click.get_current_context().exit(code)


def _preview(
    sources: tuple[str, ...], options: BatchOptions, given: dict[str, Any], interruption: Interruption
) -> int:
    with _display(given) as display:
        preview = preview_batch(sources, options, watch=display.show, stop=interruption.__bool__)
    code = interruption.exit_code if preview.interrupted else preview.exit_code
    if given["as_json"]:
        emit("summary", **preview.as_dict(), exit_code=code)
    else:
        _print(preview_lines(preview), code, given)
    return code


def _persist(
    sources: tuple[str, ...], options: BatchOptions, given: dict[str, Any], interruption: Interruption
) -> int:
    with _display(given) as display:
        report = run_batch(sources, options, watch=display.show, stop=interruption.__bool__)
    code = interruption.exit_code if report.state == "interrupted" else report.exit_code
    if given["as_json"]:
        figures = {name: report.metrics[name] for name in ("counts", "bytes", "timing")}
        emit("summary", state=report.state, **figures, metrics=options.metrics_path, exit_code=code)
    else:
        _print(summary_lines(report.metrics, report.state, options.metrics_path), code, given)
    for failure in report.unwritten:
        say(f"Error: the report could not be written: {failure.message}: {failure.detail}", err=True)
    return code


def _display(given: dict[str, Any]) -> closing[Display]:
    return closing(choose_display(given["progress"], given["as_json"], given["quiet"], given["verbose"]))


def _print(lines: Iterable[str], code: int, given: dict[str, Any]) -> None:
    """The closing words. A quiet batch speaks only when something is wrong, and then on standard error."""
    if code or not given["quiet"]:
        for line in lines:
            say(line, err=given["quiet"])
