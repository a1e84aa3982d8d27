"""A comparison on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from ..compare.document import PHASES, Answer, Comparison, Proof, Variant
from ..foreign_text import printable
from .outcome_text import number
from .terminal import grid
from .wording import count, duration, moment, share, size

SHOWN_DIFFERENCES = 20

QUESTIONS = {"mode": "Which mode?", "workers": "How many workers?"}


def render_comparison(comparison: Comparison) -> str:
    """The figures of each question with its answer, and the recommendation last.

    Foreign text (names, paths, lines of files) has no control characters left.
    """
    return "\n".join(_comparison_lines(comparison)) + "\n"


def recommended(comparison: Comparison) -> str:
    """The command to use, and what it takes, in a line."""
    advice = comparison.recommendation
    facts = [
        f"{number(comparison.runs, 'run')} in about {_about(advice.seconds)}" if advice.seconds else "",
        f"one by one: about {_about(advice.one_by_one_seconds)}" if advice.one_by_one_seconds else "",
    ]
    facts = [fact for fact in facts if fact]
    return printable(f"{advice.command}   ({'; '.join(facts)})" if facts else advice.command)


def _about(seconds: float) -> str:
    """With two digits, in the unit that a person would choose."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{float(f'{seconds / length:.2g}'):,g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} s"


def _comparison_lines(comparison: Comparison) -> Iterator[str]:
    yield from _comparison_heading(comparison)
    for answer in comparison.questions:
        yield ""
        yield from _answer_lines(answer)
    for question in comparison.unanswered:
        yield from ("", f"{QUESTIONS[question.question]} Not measured: {printable(question.reason)}.")
    yield ""
    yield from _failure_lines(comparison)
    yield f"Recommended: {recommended(comparison)}"


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
    yield from grid(list(_variant_rows(answer.variants)))
    yield "Where the time went, in seconds of all workers:"
    yield from grid(list(_phase_rows(answer.variants)))
    if answer.question == "mode":
        yield "What starting both sides of a pair together saved:"
        yield from grid(list(_pair_rows(answer.variants)))
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
