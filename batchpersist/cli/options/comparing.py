"""Options of a comparison: what is compared, how often, and for how long."""

from __future__ import annotations

from typing import Any

import click

from ...compare.options import MODES, CompareOptions
from ...scheduling.executors import usable_cpus
from .sections import section
from .types import Output

_option = section("The comparison")


class _Counts(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on only
    """Numbers of workers, each once."""

    name = "N,N..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = str(value).split(",")
        if not all(word.strip().isdecimal() and int(word) for word in words):
            self.fail(f"{value!r} is not a list of numbers such as 1,2,4", param, ctx)
        return tuple(dict.fromkeys(map(int, words)))


class _Modes(click.ParamType):  # type: ignore[type-arg]
    """Names of modes, each once."""

    name = "MODE,MODE..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        modes = [word.strip() for word in value.split(",")]
        for mode in modes:
            if mode not in MODES:
                self.fail(f"{mode!r} is none of {', '.join(MODES)}", param, ctx)
        return tuple(dict.fromkeys(modes))


def _default_workers() -> tuple[int, ...]:
    """1, 2, 4 ... up to the processors that there are."""
    cpus = usable_cpus()
    return tuple(sorted({*(1 << power for power in range(cpus.bit_length())), cpus}))


WAYS = (
    _option(
        "--modes",
        type=_Modes(),
        default=MODES,
        show_default=",".join(MODES),
        help="The modes to compare, in this order; the first one is the baseline.",
    ),
    _option(
        "-j",
        "--workers",
        type=_Counts(),
        default=_default_workers,
        show_default="1,2,4 ... usable CPUs",
        help="The numbers of worker processes to compare.",
    ),
)

ROUNDS = (
    _option(
        "--rounds",
        type=click.IntRange(min=1),
        default=CompareOptions.rounds,
        show_default=True,
        metavar="N",
        help="Measure each variant N times.",
    ),
    _option(
        "--warmup",
        type=click.IntRange(min=0),
        default=CompareOptions.warmup,
        show_default=True,
        metavar="N",
        help="Rounds before these, which are not counted.",
    ),
    _option(
        "--max-time",
        type=click.FloatRange(min=0, min_open=True),
        default=CompareOptions.max_time_seconds,
        show_default=True,
        metavar="SECONDS",
        help="Spend at most SECONDS; where that is too little, measure fewer rounds or runs.",
    ),
    _option(
        "--seed",
        type=int,
        default=CompareOptions.seed,
        metavar="N",
        show_default=True,
        help="Seed of the intervals' resampling.",
    ),
)

SCRATCH = (
    _option(
        "--without-history",
        "with_history",
        flag_value=False,
        default=True,
        help="Begin with empty roots, not with copies of the snapshots and manifests that exist.",
    ),
    _option(
        "--scratch",
        type=click.Path(exists=True, file_okay=False),
        metavar="DIR",
        help="Write the measured trees below DIR.  [default: beside the runs-dir]",
    ),
    _option("--keep-scratch", is_flag=True, help="Keep the last tree of each variant there."),
)

DOCUMENT = (
    _option(
        "--json", "as_json", is_flag=True, help="Print the document (docs/compare.md) instead of the tables."
    ),
    _option("-o", "--output", type=Output(), metavar="FILE", help="Write the document to a file as well."),
)
