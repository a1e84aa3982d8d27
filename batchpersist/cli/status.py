"""``batchpersist status``: the batches of a root, and the progress of the running one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from ..batch.status import BatchStatus, batch_statuses, status_of
from ..paths import Layout
from ..records.batch_folder import find_batch
from ..report.outcome_text import IN_THE_FUTURE, work_done
from ..wording import duration
from . import batch_options, source_options
from .completion import complete_batch
from .output import print_event, print_line, print_table
from .params import SectionedCommand, add_options
from .summary import approximate_duration

_COLUMNS = ("batch", "state", "started", "runs", "failed", "invalid", "exit code")
_NEXT_STEPS = {
    "running": "",
    "finished": "",
    "stopped": "Remove the cause, or allow more failures by --max-failures; the same command continues it.",
    "failed": "An error ended it; the same command continues it.",
}
_SAME_COMMAND = "The same command continues it."

_REWRITE = "\r\x1b[K"
"""Moves to the start of the line and erases it."""


@click.command("status", cls=SectionedCommand, short_help="Show running and past batches.")
@click.argument("batch", metavar="[BATCH]", required=False, shell_complete=complete_batch)
@add_options(source_options.RUNS_DIR)
@click.option(
    "--watch",
    is_flag=False,
    flag_value="2",
    type=click.FloatRange(min=0.1),
    metavar="[SECONDS]",
    help="Look again every 2 SECONDS for as long as a batch is running.",
)
@add_options(batch_options.JSON)
def command(batch: str | None, runs_dir: str, watch: float | None, as_json: bool) -> None:
    """Show the batches of a root, the latest last, or one BATCH (the start of its id, or latest) in full.

    A batch that was killed is told from one that is running, whose progress is shown. Disturbs no
    batch. Exit codes: 0, and 10 where there is no such batch or root.
    """
    layout = Layout("", os.path.abspath(runs_dir))
    if batch is not None:
        status = status_of(layout, find_batch(layout, batch))
        print_event("batch", **_as_dict(status)) if as_json else _print_details(status)
        shown = [status]
    else:
        shown = batch_statuses(layout)
        _show_all(shown, runs_dir, as_json)
    if watch is not None:
        _watch(layout, shown, watch, as_json)


def _show_all(statuses: list[BatchStatus], runs_dir: str, as_json: bool) -> None:
    if as_json:
        for status in statuses:
            print_event("batch", **_as_dict(status))
    elif not statuses:
        print_line(f"No batch has worked on {runs_dir} yet.")
    else:
        print_table(_COLUMNS, map(_row, statuses))
        for status in statuses:
            if status.state == "running":
                print_line(f"{status.record.batch_id} is running: {_describe_progress(status)}")
            if status.starts_in_the_future:
                print_line(f"{status.record.batch_id}: {IN_THE_FUTURE}")


def _watch(layout: Layout, statuses: list[BatchStatus], seconds: float, as_json: bool) -> None:
    """Print the progress until none of the batches is running."""
    running = [status for status in statuses if status.state == "running"]
    rewrite = sys.stdout.isatty() and not as_json and len(running) == 1
    prefix = _REWRITE if rewrite else ""
    names_batches = len(running) > 1
    while running:
        time.sleep(seconds)
        for status in (now := [status_of(layout, status.folder) for status in running]):
            batch_id = status.record.batch_id
            if as_json:
                print_event("batch", **_as_dict(status))
            elif status.state != "running":
                print_line(f"Batch {batch_id}: {', '.join(_outcome_words(status))}.", prefix=prefix)
            else:
                line = (f"{batch_id}: " if names_batches else "") + _describe_progress(status)
                print_line(line, prefix=prefix, end="" if rewrite else "\n")
        running = [status for status in now if status.state == "running"]


def _row(status: BatchStatus) -> tuple[str, ...]:
    record, result, progress = status.record, status.result, status.progress
    runs = failed = invalid = "-"
    if result is not None:
        counts = result.counts
        runs, failed, invalid = (f"{n:,}" for n in (counts.selected, counts.failed, counts.invalid))
    elif progress is not None:
        runs = f"{progress.done:,}" + (f" of {progress.total:,}" if progress.total is not None else "")
        failed = f"{progress.failed:,}"
    code = "-" if record.exit_code is None else str(record.exit_code)
    batch = f"{record.batch_id} {record.shard}".rstrip()
    return (batch, status.state, _format_time(record.started_at), runs, failed, invalid, code)


def _format_time(text: str) -> str:
    """Shorten an ISO time to seconds."""
    return text[:19].replace("T", " ") + "Z"


def _describe_progress(status: BatchStatus) -> str:
    progress = status.progress
    if progress is None:
        return "it has only begun"
    of_total = f" of {progress.total:,}" if progress.total is not None else ""
    share = f" ({100 * progress.done // progress.total}%)" if progress.total else ""
    rate = progress.runs_per_second
    left = progress.seconds_left if status.state == "running" else None
    words = [
        f"{progress.phase} {progress.done:,}{of_total} runs{share}",
        f"{progress.failed:,} failed" if progress.failed else "",
        f"{rate:,.0f} runs/s" if rate else "",
        f"about {approximate_duration(left)} left" if left is not None else "",
        f"as of {approximate_duration(max(0.0, time.time() - progress.updated_at))} ago",
    ]
    return ", ".join(word for word in words if word)


def _outcome_words(status: BatchStatus) -> Iterator[str]:
    yield status.state
    if status.result is not None:
        counts = status.result.counts
        yield f"{work_done(counts)} in {duration(status.result.timing.wall_seconds)}"
        for name in ("failed", "invalid", "not_attempted"):
            if figure := getattr(counts, name):
                yield f"{figure:,} {name.replace('_', ' ')}"
    elif status.progress is not None:
        yield _describe_progress(status)
    if status.record.exit_code is not None:
        yield f"exit code {status.record.exit_code}"


def _print_details(status: BatchStatus) -> None:
    record = status.record
    config = record.config
    details = {
        "batch": record.batch_id,
        "state": ", ".join(_outcome_words(status)),
        "started": _format_time(record.started_at)
        + (f", in {record.parts} parts" if record.parts > 1 else ""),
        "ended": _format_time(record.finished_at) if record.finished_at else "",
        "shard": record.shard.replace("-of-", " of "),
        "process": f"{record.pid}@{record.host}",
        "in": record.cwd,
        "sources": " ".join(map(str, config.get("sources", []))),
        "roots": f"{config.get('out_dir')} {config.get('runs_dir')}",
        "retry of": f"{record.retry_of.batch_id} ({', '.join(record.retry_of.only)})"
        if record.retry_of
        else "",
        "folder": status.folder.path,
        "note": IN_THE_FUTURE if status.starts_in_the_future else "",
        "next": _NEXT_STEPS.get(status.state, _SAME_COMMAND),
    }
    for name, value in details.items():
        if value:
            print_line(f"{name:8} {value}")


def _as_dict(status: BatchStatus) -> dict[str, Any]:
    record, progress = status.record, status.progress
    details: dict[str, Any] | None = None
    if progress is not None:
        details = {
            **msgspec.structs.asdict(progress),
            "runs_per_second": round(progress.runs_per_second, 1),
            "seconds_left": progress.seconds_left,
        }
    return {
        **msgspec.to_builtins(record),
        "state": status.state,
        "starts_in_the_future": status.starts_in_the_future,
        "progress": details,
        "result": msgspec.to_builtins(status.result),
        "folder": status.folder.path,
    }
