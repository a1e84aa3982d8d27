"""``batchpersist compare``: measures the same job in several ways, and proves the outputs alike."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import click
import msgspec

from ..compare import document
from ..compare.options import MODES, CompareOptions
from ..compare.run import Comparison, compare_batches
from ..errors import ComparisonStoppedError, ScanStoppedError
from ..foreign_text import encodable_document
from ..metrics.schema import metrics_text
from ..models import Durability
from ..options import LockPolicy
from ..report.terminal import render_comparison
from ..storage.result_files import ReaderMissingError, check_output
from ..workers import usable_cpus
from . import batch_options, source_options
from .job import StopNowError, catch_signals
from .output import print_line, write_document
from .params import OutputType, SectionedCommand, add_options, option_section
from .progress import choose_display

_compare_option = option_section("The comparison")


class _WorkerCountsType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on only
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


class _ModesType(click.ParamType):  # type: ignore[type-arg]
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
    """1, 2, 4 ... up to the number of usable CPUs."""
    cpus = usable_cpus()
    return tuple(sorted({*(1 << power for power in range(cpus.bit_length())), cpus}))


_MODE_OPTIONS = (
    _compare_option(
        "--modes",
        type=_ModesType(),
        default=MODES,
        show_default=",".join(MODES),
        help="The modes to compare, in this order; the first one is the baseline.",
    ),
    _compare_option(
        "-j",
        "--workers",
        type=_WorkerCountsType(),
        default=_default_workers,
        show_default="1,2,4 ... usable CPUs",
        help="The numbers of worker processes to compare.",
    ),
)

_ROUND_OPTIONS = (
    _compare_option(
        "--rounds",
        type=click.IntRange(min=1),
        default=CompareOptions.rounds,
        show_default=True,
        metavar="N",
        help="Measure each variant N times.",
    ),
    _compare_option(
        "--warmup",
        type=click.IntRange(min=0),
        default=CompareOptions.warmup,
        show_default=True,
        metavar="N",
        help="Rounds before these, which are not counted.",
    ),
    _compare_option(
        "--max-time",
        type=click.FloatRange(min=0, min_open=True),
        default=CompareOptions.max_time_seconds,
        show_default=True,
        metavar="SECONDS",
        help="Spend at most SECONDS; where that is too little, measure fewer rounds or runs.",
    ),
    _compare_option(
        "--seed",
        type=int,
        default=CompareOptions.seed,
        metavar="N",
        show_default=True,
        help="Seed of the intervals' resampling.",
    ),
)

_SCRATCH_OPTIONS = (
    _compare_option(
        "--without-history",
        "with_history",
        flag_value=False,
        default=True,
        help="Begin with empty roots, not with copies of the snapshots and manifests that exist.",
    ),
    _compare_option(
        "--scratch",
        type=click.Path(exists=True, file_okay=False),
        metavar="DIR",
        help="Write the measured trees below DIR.  [default: beside the runs-dir]",
    ),
    _compare_option("--keep-scratch", is_flag=True, help="Keep the last tree of each variant there."),
)

_DOCUMENT_OPTIONS = (
    _compare_option(
        "--json", "as_json", is_flag=True, help="Print the document (docs/compare.md) instead of the tables."
    ),
    _compare_option(
        "-o", "--output", type=OutputType(), metavar="FILE", help="Write the document to a file as well."
    ),
)


_OPTIONS = (
    *source_options.SOURCES,
    *source_options.ROOTS,
    *source_options.KEYS,
    *source_options.SELECTION,
    *_MODE_OPTIONS,
    *_ROUND_OPTIONS,
    *_SCRATCH_OPTIONS,
    *batch_options.DURABILITY,
    *batch_options.LOCKS,
    *batch_options.FORCE,
    *batch_options.PROGRESS,
    *_DOCUMENT_OPTIONS,
    *batch_options.QUIET,
)


@click.command(
    "compare",
    cls=SectionedCommand,
    short_help="Measure ways to persist the same runs, and prove their results equal.",
)
@add_options(_OPTIONS)
def command(sources: tuple[str, ...], **params: Any) -> None:
    """Measure several ways to persist the runs in SOURCES, and prove that the results are equal.

    Answers two questions. How many workers? Measured on as many runs as the time allows. Which mode?
    Sequential (snapshot, then manifest, a commit a run), paired (both at once), parallel (pairs over a
    pool of workers) or grouped (one commit a task, as `batchpersist run` does it), measured on a sample.
    Ends with the command to use. Nothing is written below OUT_DIR and RUNS_DIR.
    Exit codes: 0 equal results, 1 unexpected error, 2 usage or no runs, 3 equal, but some runs failed or
    were invalid, 5 something differs, 10 a source is missing, 130/143 interrupted.
    """
    options, output = _compare_options(params), params["output"]
    if output is not None:
        check_output(output)  # before minutes of work, not after them
    with catch_signals("stopping, and removing the scratch folder") as interruption:
        try:
            display = choose_display(params["progress"], False, params["quiet"], False)
            with closing(display):
                comparison = compare_batches(
                    sources, options, on_event=display.show, should_stop=interruption.should_stop
                )
        except (ComparisonStoppedError, ScanStoppedError, StopNowError):
            print_line("Interrupted. Nothing was compared, and nothing is left of it.", err=True)
            click.get_current_context().exit(interruption.exit_code)
        _print_comparison(comparison, params)
        try:
            if output is not None:
                write_document((metrics_text(comparison.document),), output, interruption.should_stop)
        except (ReaderMissingError, StopNowError):
            print_line(f"Interrupted while it waited for a reader of {output}.", err=True)
            click.get_current_context().exit(interruption.exit_code)
    click.get_current_context().exit(comparison.exit_code)


def _compare_options(params: dict[str, Any]) -> CompareOptions:
    return CompareOptions(
        keys=source_options.keys_from(params),
        selection=source_options.selection_from(params),
        durability=Durability(params["durability"]),
        lock_policy=LockPolicy(attempts=params["lock_attempts"], stale_seconds=params["lock_stale"]),
        max_time_seconds=params["max_time"],
        **{
            name: params[name]
            for name in (
                *("out_dir", "runs_dir", "scratch", "keep_scratch", "with_history", "modes", "workers"),
                *("rounds", "warmup", "seed", "force"),
            )
        },
    )


def _print_comparison(comparison: Comparison, params: dict[str, Any]) -> None:
    if params["as_json"]:
        write_document((json.dumps(encodable_document(comparison.document), indent=2).encode(), b"\n"))
    elif comparison.exit_code or not params["quiet"]:
        content = msgspec.convert(comparison.document, document.Comparison)
        for line in render_comparison(content).splitlines():
            print_line(line, err=params["quiet"])
    if comparison.scratch is not None:
        print_line(f"Kept: {comparison.scratch}", err=True)
