"""The report of a batch on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import asdict, astuple

from ..foreign_text import printable
from ..metrics.schema import Cause, Counts, Timing
from ..models import place_of
from .document import BatchDocument, Workers
from .outcome_text import number
from .wording import count, duration, moment, share, size

_BLOCKS = " ▁▂▃▄▅▆▇█"


def grid(rows: Sequence[Sequence[str]], *, left: int = 1, indent: str = "  ") -> Iterator[str]:
    """Lines whose cells stand below each other: the first ``left`` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:{'<' if place < left else '>'}{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield (indent + "  ".join(cells)).rstrip()


def bar(value: float, whole: float, width: int) -> str:
    """A bar as long as the value's share of the whole."""
    return "█" * round(width * value / whole) if whole else ""


def course(values: Sequence[float]) -> str:
    """A character a value, the highest one full."""
    highest = max(values, default=0.0)
    if not highest:
        return ""
    return "".join(_BLOCKS[-(-8 * value // highest).__int__()] for value in values)


def cut(text: str, width: int) -> str:
    """No longer than ``width``, with an ellipsis where something is left out."""
    return text if len(text) <= width else text[: width - 1] + "…"


SHOWN_CAUSES = 8
SHOWN_SAMPLES = 2
SHOWN_TASKS = 5
SHOWN_WORKERS = 8
WIDTH = 100


def render_text(document: BatchDocument) -> str:
    """Foreign text (ids, messages, paths) has no control characters left."""
    return "\n".join(_batch_lines(document)) + "\n"


def _batch_lines(document: BatchDocument) -> Iterator[str]:
    yield from _batch_heading(document)
    if document.counts:
        yield from _counts(document, document.counts)
    if document.timing:
        yield from _timing(document.timing)
    if document.throughput and (shape := course(document.throughput.runs)):
        rate = max(document.throughput.runs) / document.throughput.bin_seconds
        yield from ("", f"Throughput, at most {count(rate)} runs/s", f"  {shape}")
    if document.workers:
        yield from _workers(document.workers)
    if document.slowest_tasks:
        yield from _tasks(document)
    if document.errors:
        yield from ("", "What failed")
        for cause in document.errors[:SHOWN_CAUSES]:
            yield from _cause(cause)
        further = len(document.errors[SHOWN_CAUSES:]) + document.errors_omitted
        yield from [f"  ... and {number(further, 'more cause')}"] if further else []
    for note in document.notes:
        yield from ("", f"Note: {note}")


def _batch_heading(document: BatchDocument) -> Iterator[str]:
    code = "" if document.exit_code is None else f", exit code {document.exit_code}"
    state = "" if document.state == "unknown" else f": {document.state.replace('_', ' ')}{code}"
    yield f"Batch {printable(document.batch_id or 'without a name')}{state}"
    if document.started_at:
        end = f" to {moment(document.finished_at)}" if document.finished_at else ""
        parts = f", in {document.parts} parts" if document.parts > 1 else ""
        host = f" on {printable(document.host)}" if document.host else ""
        version = f", batchpersist {printable(document.version)}" if document.version else ""
        yield f"{moment(document.started_at)}{end}{host}{parts}{version}"
    yield ""
    yield f"{document.verdict.text} {document.verdict.advice}".rstrip()


def _counts(document: BatchDocument, counts: Counts) -> Iterator[str]:
    figures = (
        ("discovered", counts.discovered),
        ("invalid", counts.invalid),
        ("filtered out", counts.filtered),
        ("superseded", counts.superseded),
        ("selected", counts.selected),
        ("  persisted", counts.persisted),
        ("  unchanged", counts.unchanged),
        ("  failed", counts.failed),
        ("  not attempted", counts.not_attempted),
    )
    yield from ("", "Runs")
    rows = [(name, count(figure), share(figure, counts.discovered)) for name, figure in figures if figure]
    yield from grid(rows or [("discovered", "0", "")])
    yield from ("", "Pairs")
    yield from grid(
        [
            ("", "manifest ok", "manifest failed"),
            ("snapshot ok", count(counts.both_ok), count(counts.manifest_failed)),
            ("snapshot failed", count(counts.snapshot_failed), count(counts.both_failed)),
        ]
    )
    if document.bytes:
        read, snapshots, manifests = map(size, astuple(document.bytes))
        yield from ("", f"Bytes: {read} read, {snapshots} of snapshots and {manifests} of manifests written")


def _timing(timing: Timing) -> Iterator[str]:
    phases = ", ".join(f"{name} {duration(getattr(timing, name))}" for name in ("scan", "plan", "settle"))
    yield ""
    yield f"Time: {duration(timing.wall_seconds)} ({count(timing.runs_per_second)} runs/s): {phases}"
    if timing.pair.max is None:
        return
    head = ("a run's", "p50", "p90", "p99", "max")
    sides = [(name, getattr(timing, name)) for name in ("snapshot", "manifest", "pair")]
    yield from grid(
        [head, *((name, *(duration(getattr(side, key)) for key in head[1:])) for name, side in sides)]
    )
    yield from _phase_line(timing)
    saved = timing.sum_if_sequential - timing.pair_seconds
    if timing.sum_if_sequential:
        yield (
            f"  Both sides at once took {duration(timing.pair_seconds)}, one after the other "
            f"{duration(timing.sum_if_sequential)}: {share(saved, timing.sum_if_sequential)} saved"
        )


def _phase_line(timing: Timing) -> Iterator[str]:
    """What the workers did most of the time, in a line."""
    worked = timing.phases.total
    longest = sorted(asdict(timing.phases).items(), key=lambda phase: -phase[1])
    words = [
        f"{name.replace('_', ' ')} {share(part, worked)}" for name, part in longest if part > worked / 100
    ]
    if words:
        yield f"  Workers' time: {', '.join(words)}"


def _workers(workers: Workers) -> Iterator[str]:
    yield from ("", f"Workers, over {duration(workers.seconds)}")
    shown = workers.listed[:SHOWN_WORKERS]
    rows = []
    for worker in shown:
        busy = min(worker.busy_seconds, workers.seconds)
        cells = (f"{bar(busy, workers.seconds, 30):30}", f"{share(busy, workers.seconds)} busy")
        rows.append((str(worker.pid), *cells, number(worker.runs, "run")))
    yield from grid(rows)
    further = len(workers.listed) - len(shown) + workers.omitted
    yield from [f"  ... and {number(further, 'more')}"] if further else []


def _tasks(document: BatchDocument) -> Iterator[str]:
    yield from ("", f"Slowest snapshots, of {number(document.tasks, 'task')}")
    rows = [
        (cut(printable(task.task_id), 50), number(task.runs, "run"), duration(task.timing.commit_seconds))
        for task in document.slowest_tasks[:SHOWN_TASKS]
    ]
    yield from grid(rows)
    for task in document.split_tasks[:SHOWN_TASKS]:
        yield f"  {cut(printable(task), 50)} is hot: its manifests were spread over the workers"


def _cause(cause: Cause) -> Iterator[str]:
    yield f"  {count(cause.count)} x {cause.stage}: {printable(cause.message)} ({printable(cause.type)})"
    for sample in cause.samples[:SHOWN_SAMPLES]:
        run = f" {sample.task_id}/{sample.run_id}" if sample.task_id else ""
        detail = f": {sample.detail}" if sample.detail else ""
        yield "      " + cut(printable(f"{place_of(sample.source, sample.line)}{run}{detail}"), 2 * WIDTH)
