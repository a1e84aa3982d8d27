"""The one entry to a comparison: the same job in several ways, in turns, each below roots of its own."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from .. import __version__
from ..batch_job import BatchJob
from ..context import Deadline, OnEvent, RunContext, ShouldStop, ignore_event, never_stop
from ..errors import ComparisonStoppedError, MeasurementError, ScanStoppedError
from ..exit_codes import ExitCode
from ..paths import Layout
from ..records.root_record import check_keys
from ..sources import STANDARD_INPUT, discover, standard_input_blocks
from ..timestamps import utc_text
from ..workers import usable_cpus
from . import document
from .experiment import Bench, Experiment
from .options import CompareOptions, Roots, Variant, build_batch_options, describe_config, plan_questions
from .sampling import likely_seconds
from .scratch import default_parent, file_system, scratch_folder
from .statistics import recommend
from .survey import Survey, survey_sources

_SHARE = 0.6
"""Of the time that is left, for the first of two questions."""

_MARGIN = 0.95
"""Of the time, for measuring: the rest is for removing the scratch folder."""


@dataclass(frozen=True, repr=False)
class Comparison:
    """What a comparison found."""

    document: dict[str, Any]
    """The content of compare.json (docs/compare.md)."""
    scratch: str | None
    """The folder that was kept, where that was asked for."""

    def __repr__(self) -> str:
        runs, scratch = self.document["runs"], self.scratch
        return f"Comparison(runs={runs}, scratch={scratch!r}, exit_code={self.exit_code})"

    @property
    def exit_code(self) -> ExitCode:
        """5 where the trees differ, else 3 where runs failed or were invalid, else 0."""
        found = msgspec.convert(self.document, document.Comparison)
        if not found.is_equal:
            return ExitCode.DIFFERENCES
        failed = any(counts.failed or counts.invalid for counts in found.counts)
        return ExitCode.SOME_FAILED if failed else ExitCode.SUCCESS


def compare_batches(
    sources: Sequence[str],
    options: CompareOptions = CompareOptions(),
    *,
    on_event: OnEvent = ignore_event,
    should_stop: ShouldStop = never_stop,
) -> Comparison:
    """Persist the runs in ``sources`` in several ways, and compare what that takes and what it writes.

    Every batch is ``run_batch`` in a fresh process, below roots of its own in a scratch folder, which
    hold a copy of the histories of its tasks. The real roots are read only, and no lock is taken
    there: a live orchestrator and a batch may work there meanwhile. ``on_event`` is called in the calling
    thread. ``should_stop`` is asked all the time: once it is true the batch under way is killed, and
    ComparisonStoppedError raised. At ``options.max_time_seconds`` a batch under way is killed as well: the
    questions are answered by what was measured until then.

    Raises SourceMissingError and UsageError before anything is measured (also where no run matches),
    MeasurementError where a batch came to no result, the sources were changed meanwhile or the time
    is too short for a single measurement, and OSError. Whatever is raised, the scratch folder and
    all processes are gone; after a kill the next comparison there removes it.
    """
    variant, roots = plan_questions(options)[0].variants[0], Roots(options.out_dir, options.runs_dir)
    BatchJob(build_batch_options(options, variant, roots, limit=None)).check_paths()
    discover(sources, RunContext(should_stop=should_stop))
    check_keys(Layout(os.path.abspath(options.out_dir), os.path.abspath(options.runs_dir)), options.keys)
    started_at = utc_text()
    with scratch_folder(
        options.scratch or default_parent(options.runs_dir), keep=options.keep_scratch
    ) as scratch:
        context = RunContext(on_event, should_stop, Deadline(options.max_time_seconds * _MARGIN))
        files = _spool_standard_input(sources, scratch, context)
        spool = os.path.join(scratch, "spool")
        os.mkdir(spool)
        survey = survey_sources(files, options, spool, context)
        answers, unanswered, one_by_one = _measure(Bench(files, options, scratch, survey, context))
        comparison = document.Comparison(
            schema_version=document.SCHEMA_VERSION,
            kind="comparison",
            version=__version__,
            started_at=started_at,
            finished_at=utc_text(),
            config=describe_config(options, sources),
            host=_host(scratch),
            runs=survey.runs,
            history=survey.history(),
            questions=answers,
            unanswered=unanswered,
            recommendation=recommend(answers, survey.runs, one_by_one, seed=options.seed),
        )
    return Comparison(msgspec.to_builtins(comparison), scratch if options.keep_scratch else None)


def _spool_standard_input(sources: Sequence[str], scratch: str, context: RunContext) -> list[str]:
    """The sources; in the place of standard input, which can be read only once, a file."""
    if STANDARD_INPUT not in sources:
        return list(sources)
    path = os.path.join(scratch, "stdin.jsonl")
    try:
        with open(path, "wb") as file:
            file.writelines(standard_input_blocks(RunContext(should_stop=context.should_stop)))
    except ScanStoppedError:
        raise ComparisonStoppedError from None
    return [path if source == STANDARD_INPUT else source for source in sources]


def _measure(bench: Bench) -> tuple[list[document.Answer], list[document.Unanswered], float | None]:
    """Measure all questions: the answers, the questions without one, and what all runs take one by one.

    Raises MeasurementError where no question can be answered.
    """
    answers: list[document.Answer] = []
    unanswered: list[document.Unanswered] = []
    trials: dict[Variant, list[tuple[int, float]]] = {}
    questions = plan_questions(bench.options)
    for question in questions:
        experiment = Experiment(bench, question)
        result = experiment.run(1.0 if question is questions[-1] else _SHARE)
        if isinstance(result, document.Answer):
            answers.append(result)
        else:
            unanswered.append(result)
        trials |= experiment.trials
    if not answers:
        raise MeasurementError("; ".join(f"{each.question}: {each.reason}" for each in unanswered))
    return answers, unanswered, _one_by_one(trials, bench.survey)


def _one_by_one(trials: Mapping[Variant, Sequence[tuple[int, float]]], survey: Survey) -> float | None:
    """Seconds of all runs with a commit for each, in one process; None where none of them was measured."""
    for variant in (Variant("sequential", 1), Variant("paired", 1)):
        if trials.get(variant):
            return likely_seconds(trials[variant], survey.written(variant), survey.rows)
    return None


def _host(path: str) -> document.Host:
    return document.Host(
        cpus=usable_cpus(),
        python=platform.python_version(),
        platform=platform.platform(),
        file_system=file_system(path),
    )
