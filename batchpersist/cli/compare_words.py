"""A comparison in tables and plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..report.sentences import number

SHOWN_DIFFERENCES = 20

_PHASES = ("read", "parse", "lock_wait", "snapshot", "manifest", "sync", "pool", "other")

Figures = Mapping[str, Any]


def comparison_lines(document: Figures) -> Iterator[str]:
    """Lines for a person; the last one is the advice. ``document`` as in docs/compare.md."""
    variants = document["variants"]
    yield from _heading(document)
    yield ""
    yield from _table(
        ("", "median", "min to max", "runs/s", "speed-up (95%)", "CPU", "written", "syncs"),
        map(_row, variants),
    )
    yield ""
    yield "Where the time went, in seconds of all workers:"
    yield from _table(("", *(phase.replace("_", " ") for phase in _PHASES)), map(_phases, variants))
    yield ""
    yield from map(_pair, (variant for variant in variants if variant["mode"] != "sequential"))
    yield ""
    yield from _failures(variants)
    yield from _proof(document["proof"])
    yield document["advice"]


def _heading(document: Figures) -> Iterator[str]:
    sample, rounds, host, config = (document[name] for name in ("sample", "rounds", "host", "config"))
    runs = f"{number(sample['runs'], 'run')} of {number(sample['tasks'], 'task')} ({sample['bytes']:,} bytes)"
    times = f"{number(rounds['measured'], 'round')}, {config['warmup']} to warm up"
    place = f"{host['file_system']}, {number(host['cpus'], 'CPU')}"
    yield f"{runs}; durability {config['durability']}; {times}; {place}"
    if sample["reduced"]:
        yield f"A sample of {sample['available']:,} runs: {sample['reason']}."
    if rounds["reduced"]:
        yield f"Fewer rounds than the {config['runs']} asked for: {rounds['reason']}."


def _row(variant: Figures) -> tuple[str, ...]:
    ratio = variant["speedup"]
    return (
        variant["name"],
        _seconds(variant["median"]),
        f"{variant['min']:.3g} to {_seconds(variant['max'])}",
        f"{variant['runs_per_second']:,.0f}",
        f"{ratio['estimate']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
        _seconds(variant["cpu_seconds"]),
        _bytes(variant["bytes_written"]),
        f"{variant['syncs']:,}",
    )


def _phases(variant: Figures) -> tuple[str, ...]:
    return (variant["name"], *(f"{variant['phases'][phase]:.3f}" for phase in _PHASES))


def _pair(variant: Figures) -> str:
    """What starting both sides together saved."""
    both, one_by_one = variant["pair_seconds"], variant["sum_if_sequential"]
    saved = 1 - both / one_by_one if one_by_one else 0.0
    return (
        f"{variant['name']}: its pairs took {_seconds(both)}, with one side after the other "
        f"{_seconds(one_by_one)}: {saved:.0%} saved"
    )


def _failures(variants: Sequence[Figures]) -> Iterator[str]:
    counts = [variant["counts"] for variant in variants]
    failed, invalid = ({count[name] for count in counts} for name in ("failed", "invalid"))
    if failed != {0}:
        same = "in each of them" if len(failed) == 1 else "not everywhere as many"
        most = number(max(failed), "run")
        yield f"Failed: {most}, {same}; what was written all the same is compared as well."
    if invalid != {0}:
        yield f"Invalid: {number(max(invalid), 'line')} of the sources, left out."


def _proof(proof: Figures) -> Iterator[str]:
    if proof["equal"]:
        trees = f"{number(proof['trees'], 'tree')} of {number(proof['files'], 'file')}"
        yield f"The same was written: {trees}, digest {proof['digest']}."
        return
    found = proof["differences"]
    for difference in found[:SHOWN_DIFFERENCES]:
        place = f"{difference['variant']}, round {difference['round']}"
        yield f"{difference['kind']}: {difference['path']} ({place})"
        yield from (f"    {line}" for line in difference["diff"])
    further = len(found[SHOWN_DIFFERENCES:]) + proof["differences_omitted"]
    if further:
        yield f"... and {number(further, 'more difference')}"
    names = dict.fromkeys(difference["variant"] for difference in found)
    yield f"NOT THE SAME WAS WRITTEN by {' and '.join(names)}."


def _table(heading: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """The first column to the left, the others to the right."""
    cells = [heading, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *rest in cells:
        columns = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *columns])


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value < 100 else f"{value:,.0f} s"


def _bytes(size: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} B"
