"""A report on a terminal: of a batch, or of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import asdict, astuple

from ..compare.document import PHASES, Answer, Comparison, Proof, Variant
from ..foreign_text import printable
from ..metrics.schema import Cause, Counts, Timing
from ..models import place_of
from ..wording import count, duration, moment, number, rough_duration, share, size
from .document import BatchDocument, Workers

_BLOCKS = " ▁▂▃▄▅▆▇█"


def align_columns(rows: Sequence[Sequence[str]], *, left: int = 1, indent: str = "  ") -> Iterator[str]:
    """Lines with aligned columns: the first ``left`` of them to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:{'<' if column < left else '>'}{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield (indent + "  ".join(cells)).rstrip()


def bar(value: float, whole: float, width: int) -> str:
    """A bar as long as the value's share of the whole."""
    return "█" * round(width * value / whole) if whole else ""


def sparkline(values: Sequence[float]) -> str:
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
    """The report of a batch. Control characters in ids, messages and paths are escaped."""
    return "\n".join(_batch_lines(document)) + "\n"


def _batch_lines(document: BatchDocument) -> Iterator[str]:
    yield from _batch_heading(document)
    if document.counts:
        yield from _counts(document, document.counts)
    if document.timing:
        yield from _timing(document.timing)
    if document.throughput and (shape := sparkline(document.throughput.runs)):
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
    yield from align_columns(rows or [("discovered", "0", "")])
    yield from ("", "Pairs")
    yield from align_columns(
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
    yield from align_columns(
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
    yield from align_columns(rows)
    further = len(workers.listed) - len(shown) + workers.omitted
    yield from [f"  ... and {number(further, 'more')}"] if further else []


def _tasks(document: BatchDocument) -> Iterator[str]:
    yield from ("", f"Slowest snapshots, of {number(document.tasks, 'task')}")
    rows = [
        (cut(printable(task.task_id), 50), number(task.runs, "run"), duration(task.timing.commit_seconds))
        for task in document.slowest_tasks[:SHOWN_TASKS]
    ]
    yield from align_columns(rows)
    for task in document.split_tasks[:SHOWN_TASKS]:
        yield f"  {cut(printable(task), 50)} is hot: its manifests were spread over the workers"


def _cause(cause: Cause) -> Iterator[str]:
    yield f"  {count(cause.count)} x {cause.stage}: {printable(cause.message)} ({printable(cause.type)})"
    for sample in cause.samples[:SHOWN_SAMPLES]:
        run = f" {sample.task_id}/{sample.run_id}" if sample.task_id else ""
        detail = f": {sample.detail}" if sample.detail else ""
        yield "      " + cut(printable(f"{place_of(sample.source, sample.line)}{run}{detail}"), 2 * WIDTH)


SHOWN_DIFFERENCES = 20

QUESTIONS = {"mode": "Which mode?", "workers": "How many workers?"}


def render_comparison(comparison: Comparison) -> str:
    """The figures of each question with its answer, and the recommendation last.

    Control characters in names, paths and lines of files are escaped.
    """
    return "\n".join(_comparison_lines(comparison)) + "\n"


def recommendation(comparison: Comparison) -> str:
    """The command to use, and what it takes, in a line."""
    advice = comparison.recommendation
    facts = []
    if advice.seconds:
        facts.append(f"{number(comparison.runs, 'run')} in about {rough_duration(advice.seconds)}")
    if advice.one_by_one_seconds:
        facts.append(f"one by one: about {rough_duration(advice.one_by_one_seconds)}")
    return printable(f"{advice.command}   ({'; '.join(facts)})" if facts else advice.command)


def _comparison_lines(comparison: Comparison) -> Iterator[str]:
    yield from _comparison_heading(comparison)
    for answer in comparison.questions:
        yield ""
        yield from _answer_lines(answer)
    for question in comparison.unanswered:
        yield from ("", f"{QUESTIONS[question.question]} Not measured: {printable(question.reason)}.")
    yield ""
    yield from _failure_lines(comparison)
    yield f"Recommended: {recommendation(comparison)}"


def _comparison_heading(comparison: Comparison) -> Iterator[str]:
    host, config, history = comparison.host, comparison.config, comparison.history
    yield f"Comparison of {moment(comparison.started_at)}, batchpersist {printable(comparison.version)}"
    places = map(printable, (host.file_system, f"Python {host.python}", host.platform))
    yield ", ".join((number(host.cpus, "CPU"), *places))
    yield f"{number(comparison.runs, 'run')}, durability {printable(str(config.get('durability')))}"
    if history.tasks:
        what = f"the history of {number(history.tasks, 'task')} ({size(history.bytes)})"
        yield (
            f"Each batch begins with a copy of {what}; --without-history leaves it out."
            if history.copied
            else f"Each batch begins without {what}."
        )


def _answer_lines(answer: Answer) -> Iterator[str]:
    sample, rounds = answer.sample, answer.rounds
    yield (
        f"{QUESTIONS[answer.question]} {number(sample.runs, 'run')} of {number(sample.tasks, 'task')} "
        f"({size(sample.bytes)}), {number(rounds.measured, 'round')}"
        + (f", {rounds.warmup} to warm up" if rounds.warmup else "")
    )
    for what, reason in (("Not all runs", sample.reason), ("Fewer rounds", rounds.reason)):
        yield from [f"{what}: {printable(reason)}."] if reason else []
    yield from align_columns(list(_variant_rows(answer.variants)))
    yield "Where the time went, in seconds of all workers:"
    yield from align_columns(list(_phase_rows(answer.variants)))
    if answer.question == "mode":
        yield "What starting both sides of a pair together saved:"
        yield from align_columns(list(_pair_rows(answer.variants)))
    yield from _proof_lines(answer.proof)
    yield f"Answer: {printable(answer.answer)}"


def _variant_rows(variants: list[Variant]) -> Iterator[tuple[str, ...]]:
    yield ("variant", "median", "min", "max", "runs/s", "speed-up", "95% interval", "CPU", "written", "syncs")
    for variant in variants:
        times = (variant.median, variant.min, variant.max)
        yield (
            printable(variant.name),
            *map(duration, times),
            count(variant.runs_per_second),
            f"{variant.speedup.estimate:.2f}x",
            interval(variant),
            duration(variant.cpu_seconds),
            size(variant.bytes_written),
            count(variant.syncs),
        )


def interval(variant: Variant) -> str:
    """The bounds of its speed-up; ``-`` where there are none."""
    gain = variant.speedup
    return "-" if gain.low is None or gain.high is None else f"{gain.low:.2f}-{gain.high:.2f}"


def _phase_rows(variants: list[Variant]) -> Iterator[tuple[str, ...]]:
    yield ("variant", *(phase.replace("_", " ") for phase in PHASES))
    for variant in variants:
        yield (printable(variant.name), *(f"{variant.phases.get(phase, 0.0):.3f}" for phase in PHASES))


def _pair_rows(variants: list[Variant]) -> Iterator[tuple[str, ...]]:
    yield ("variant", "together", "in turn", "saved")
    for variant in variants:
        together, in_turn = variant.pair_seconds, variant.sum_if_sequential
        saved = share(in_turn - together, in_turn)
        yield printable(variant.name), duration(together), duration(in_turn), saved


def _failure_lines(comparison: Comparison) -> Iterator[str]:
    for answer in comparison.questions:
        counts = [variant.counts for variant in answer.variants]
        failed, invalid = ({getattr(each, name) for each in counts} for name in ("failed", "invalid"))
        if failed != {0}:
            where = "in each batch" if len(failed) == 1 else "at most, not the same number in each batch"
            yield f"Failed: {number(max(failed), 'run')} {where}; what they wrote is compared as well."
        if invalid != {0}:
            yield f"Skipped {number(max(invalid), 'invalid line')} of the sources."
        if failed != {0} or invalid != {0}:
            return


def _proof_lines(proof: Proof) -> Iterator[str]:
    if proof.equal:
        trees = f"{number(proof.trees, 'tree')} of {number(proof.files, 'file')} each"
        yield f"Proof: {trees} are equal, byte for byte ({printable(proof.digest)})."
        return
    total = len(proof.differences) + proof.differences_omitted
    yield f"The outputs DIFFER in {number(total, 'place')}:"
    for difference in proof.differences[:SHOWN_DIFFERENCES]:
        place = f"{printable(difference.variant)}, round {difference.round}"
        yield f"  {place}: {difference.kind}: {printable(difference.path)}"
        yield from (f"      {printable(line)}" for line in difference.diff)
    further = total - len(proof.differences[:SHOWN_DIFFERENCES])
    if further:
        yield f"  ... and {further:,} more"
