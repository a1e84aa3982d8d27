"""A comparison on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from .comparison import PHASES, Comparison, Proof
from .grid import bar, grid
from .sentences import number
from .wording import count, duration, moment, printable, share, size

SHOWN_DIFFERENCES = 20


def render_comparison(comparison: Comparison) -> str:
    """Foreign text (names, paths, lines of files) has no control characters left. Advice comes last."""
    return "\n".join(_lines(comparison)) + "\n"


def _lines(comparison: Comparison) -> Iterator[str]:
    yield from _heading(comparison)
    yield ""
    yield from grid(list(_variants(comparison)))
    yield from ("", "Where the time went, in seconds of all workers:")
    yield from grid(list(_phases(comparison)))
    yield from ("", "What starting both sides of a pair together saved:")
    yield from grid(list(_pairs(comparison)))
    yield ""
    yield from _failures(comparison)
    yield from _proof(comparison.proof)
    yield printable(comparison.advice)


def _heading(comparison: Comparison) -> Iterator[str]:
    host, sample, config = comparison.host, comparison.sample, comparison.config
    yield f"Comparison of {moment(comparison.started_at)}, batchpersist {printable(comparison.version)}"
    places = map(printable, (host.file_system, f"Python {host.python}", host.platform))
    yield ", ".join((number(host.cpus, "CPU"), *places))
    yield (
        f"{number(sample.runs, 'run')} of {number(sample.tasks, 'task')} ({size(sample.bytes)}), "
        f"durability {printable(str(config.get('durability')))}, "
        f"{number(comparison.rounds.measured, 'round')}, {printable(str(config.get('warmup')))} to warm up"
    )
    for what, reason in (("A sample", sample.reason), ("Fewer rounds", comparison.rounds.reason)):
        yield from [f"{what}: {printable(reason)}."] if reason else []


def _variants(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    yield (
        "variant",
        "median",
        "min",
        "max",
        "runs/s",
        "speed-up",
        "95% interval",
        "CPU",
        "written",
        "syncs",
        "",
    )
    fastest = max(variant.speedup.estimate for variant in comparison.variants)
    for variant in comparison.variants:
        times = (variant.median, variant.min, variant.max)
        yield (
            printable(variant.name),
            *map(duration, times),
            count(variant.runs_per_second),
            f"{variant.speedup.estimate:.2f}x",
            f"{variant.speedup.low:.2f}-{variant.speedup.high:.2f}",
            duration(variant.cpu_seconds),
            size(variant.bytes_written),
            count(variant.syncs),
            f"{bar(variant.speedup.estimate, fastest, 20):20}",
        )


def _phases(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    yield ("variant", *(phase.replace("_", " ") for phase in PHASES))
    for variant in comparison.variants:
        yield (printable(variant.name), *(f"{variant.phases.get(phase, 0.0):.3f}" for phase in PHASES))


def _pairs(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    yield ("variant", "together", "in turn", "saved")
    for variant in comparison.variants:
        together, in_turn = variant.pair_seconds, variant.sum_if_sequential
        saved = share(in_turn - together, in_turn)
        yield printable(variant.name), duration(together), duration(in_turn), saved


def _failures(comparison: Comparison) -> Iterator[str]:
    failed, invalid = (
        {variant.counts.get(name, 0) for variant in comparison.variants} for name in ("failed", "invalid")
    )
    if failed != {0}:
        where = "everywhere" if len(failed) == 1 else "at most, not the same number everywhere"
        yield f"Failed: {number(max(failed), 'run')} {where}; what they wrote is compared as well."
    if invalid != {0}:
        yield f"Invalid: {number(max(invalid), 'line')} of the sources, left out."


def _proof(proof: Proof) -> Iterator[str]:
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
