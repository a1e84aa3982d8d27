"""A comparison on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from .comparison import Comparison, Proof
from .grid import bar, grid
from .sentences import number
from .wording import count, duration, moment, printable, size

SHOWN_DIFFERENCES = 5


def render_comparison(comparison: Comparison) -> str:
    """Foreign text (names, paths, lines of files) has no control characters left."""
    return "\n".join(_lines(comparison)) + "\n"


def _lines(comparison: Comparison) -> Iterator[str]:
    host, sample = comparison.host, comparison.sample
    yield f"Comparison of {moment(comparison.started_at)}, batchpersist {printable(comparison.version)}"
    places = map(printable, (host.file_system, f"Python {host.python}", host.platform))
    yield ", ".join((number(host.cpus, "CPU"), *places))
    yield (
        f"{number(sample.runs, 'run')} of {number(sample.tasks, 'task')} ({size(sample.bytes)}), "
        f"{number(comparison.rounds.measured, 'round')}"
    )
    for reason in (sample.reason, comparison.rounds.reason):
        yield from [f"  {printable(reason)}"] if reason else []
    yield from ("", printable(comparison.advice), "")
    yield from grid(list(_variants(comparison)))
    yield from ("", *_proof(comparison.proof))


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


def _proof(proof: Proof) -> Iterator[str]:
    if proof.equal:
        trees = f"{number(proof.trees, 'tree')} of {number(proof.files, 'file')} each"
        yield f"Proof: {trees} are equal, byte for byte ({printable(proof.digest)})."
        return
    total = len(proof.differences) + proof.differences_omitted
    yield f"The outputs DIFFER in {number(total, 'file')}:"
    for difference in proof.differences[:SHOWN_DIFFERENCES]:
        yield f"  {printable(difference.variant)}: {difference.kind}: {printable(difference.path)}"
        yield from (f"      {printable(line)}" for line in difference.diff[:10])
