"""The one entry to a comparison: the same job in several ways, in turns, each below roots of its own."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median, median_low
from time import perf_counter
from typing import Any, Literal

import msgspec

from .. import __version__
from ..context import Deadline, OnEvent, RunContext, ShouldStop, ignore_event, never_stop
from ..errors import ComparisonStoppedError, MeasurementError, UsageError
from ..events import Progress
from ..exit_codes import ExitCode
from ..metrics.build import seconds
from ..options import POOL_RUNS
from ..paths import Layout
from ..records.preparation import check_places
from ..records.root_record import check_keys
from ..sources import STANDARD_INPUT, discover, standard_input_blocks
from ..timestamps import utc_text
from ..wording import rough_duration
from ..workers import usable_cpus
from . import document
from .measure import Measurement, measure
from .options import (
    CompareOptions,
    Question,
    Roots,
    Variant,
    batch_options,
    comparison_config,
    questions_of,
    turns,
)
from .sampling import FIRST, Cost, Sample, Survey, choose_sample, likely_seconds, survey
from .scratch import copy_histories, history_size, place_beside, remove, scratch_folder
from .statistics import MIN_ROUNDS, answer, recommend, speedup
from .trees import Proof

_SHARE = 0.6
"""Of the time that is left, for the first of two questions."""

_MARGIN = 0.95
"""Of the time: after it no batch goes on, since the scratch folder has to be removed as well."""


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
    there: a live orchestrator and a batch may go on. ``on_event`` hears of progress in the calling
    thread. ``should_stop`` is asked all the time: once it is true the batch under way is killed, and
    ComparisonStoppedError raised. After ``options.max_time`` no batch goes on: the questions are
    answered by what was measured until then.

    Raises SourceMissingError and UsageError before anything is measured (also where no run matches),
    MeasurementError where a batch came to no result, the sources were changed meanwhile or the time
    is too short for a single measurement, and OSError. Whatever is raised, the scratch folder and
    all processes are gone; after a kill the next comparison there removes it.
    """
    variant, roots = questions_of(options)[0].variants[0], Roots(options.out_dir, options.runs_dir)
    check_places(batch_options(options, variant, roots, limit=None))
    discover(sources, alive=RunContext(should_stop=should_stop).check)
    started_at = utc_text()
    parent = options.scratch or place_beside(options.runs_dir)
    with scratch_folder(parent, keep=options.keep_scratch) as scratch:
        context = RunContext(on_event, should_stop, Deadline(options.max_time_seconds * _MARGIN))
        bench = _Bench(sources, options, scratch, context)
        found = bench.survey()
        answers: list[document.Answer] = []
        unanswered: list[document.Unanswered] = []
        trials: dict[Variant, list[tuple[int, float]]] = {}
        questions = questions_of(options)
        for question in questions:
            asking = _Asking(bench, question, found)
            try:
                answers.append(asking.ask(1.0 if question is questions[-1] else _SHARE))
            except _OutOfTimeError as error:
                unanswered.append(document.Unanswered(question=question.name, reason=str(error)))
            trials |= asking.trials
        if not answers:
            raise MeasurementError("; ".join(f"{each.question}: {each.reason}" for each in unanswered))
        comparison = document.Comparison(
            schema_version=document.SCHEMA_VERSION,
            kind="comparison",
            version=__version__,
            started_at=started_at,
            finished_at=utc_text(),
            config=comparison_config(options, sources),
            host=_host(scratch),
            runs=found.runs,
            history=_history(bench, found),
            questions=answers,
            unanswered=unanswered,
            recommendation=recommend(answers, found.runs, _one_by_one(trials, found), seed=options.seed),
        )
    return Comparison(msgspec.to_builtins(comparison), scratch if options.keep_scratch else None)


class _OutOfTimeError(Exception):
    """The time is up, or does not suffice for the next batch."""


class _Bench:
    """What all questions share: the sources, the scratch folder, the time, and how a batch is measured."""

    def __init__(
        self,
        sources: Sequence[str],
        options: CompareOptions,
        scratch: str,
        context: RunContext,
    ) -> None:
        self.options = options
        self.scratch = scratch
        self.context = context
        self.real = Layout(os.path.abspath(options.out_dir), os.path.abspath(options.runs_dir))
        check_keys(self.real, options.keys)
        self._talk = os.path.join(scratch, "talk")
        os.mkdir(self._talk)
        self._sources = self._readable_again(sources)

    def _readable_again(self, sources: Sequence[str]) -> list[str]:
        """The sources; standard input, which can be read but once, as a file."""
        if STANDARD_INPUT not in sources:
            return list(sources)
        path = os.path.join(self.scratch, "stdin.jsonl")
        with open(path, "wb") as file:
            file.writelines(standard_input_blocks(self._check_stop))
        return [path if source == STANDARD_INPUT else source for source in sources]

    def _check_stop(self) -> None:
        if self.context.should_stop():
            raise ComparisonStoppedError

    def survey(self) -> Survey:
        """Raises MeasurementError where the time ends meanwhile, UsageError where no run matches."""
        spool = os.path.join(self.scratch, "spool")
        os.mkdir(spool)
        try:
            found = survey(self._sources, self.options, spool, self.context)
        except ComparisonStoppedError:
            if self.context.should_stop():
                raise
            limit = rough_duration(self.options.max_time_seconds)
            raise MeasurementError(f"{limit} are too short to scan the sources: allow more time") from None
        if not found.rows:
            raise UsageError("no run in the sources matches: there is nothing to compare")
        return found

    def freeze(self, found: Survey, rows: int, folder: str) -> None:
        """Copy what exists of the first ``rows``: all rounds find the same, whatever is written meanwhile."""
        remove(folder)
        os.mkdir(folder)
        if self.options.with_history:
            plan = found.plan(rows).rows
            copy = Layout(os.path.join(folder, "out"), os.path.join(folder, "runs"))
            tasks, runs = (plan[name].to_pylist() for name in ("task_id", "run_id"))
            copy_histories(self.real, copy, dict.fromkeys(tasks), zip(tasks, runs, strict=True))

    def do(self, variant: Variant, rows: int, before: str, root: str) -> Measurement:
        """Have a batch do the first ``rows`` in a variant's way; its tree is ``root`` afterwards.

        Raises _OutOfTimeError where the time ends before the batch does.
        """
        remove(root)
        shutil.copytree(before, root, symlinks=True)
        metrics = os.path.join(self._talk, "metrics.json")
        roots = Roots(os.path.join(root, "out"), os.path.join(root, "runs"), metrics)
        self._flush_disk()
        options = batch_options(self.options, variant, roots, limit=rows)
        try:
            measurement = measure(self._sources, options, self._talk, self.context)
        except ComparisonStoppedError:
            if self.context.should_stop():
                raise
            raise _OutOfTimeError from None
        counts = measurement.metrics.counts
        if counts.selected + counts.superseded != rows:
            raise MeasurementError("the sources were changed while they were compared")
        return measurement

    def _flush_disk(self) -> None:
        """So that no batch pays for what an earlier one left to be written."""
        os.sync()


class _Asking:
    """One question, measured in a folder of its own."""

    def __init__(self, bench: _Bench, question: Question, found: Survey) -> None:
        self._bench = bench
        self._options = bench.options
        self._question = question
        self._found = found
        self._folder = os.path.join(bench.scratch, question.name)
        self._measured: dict[Variant, list[Measurement]] = {variant: [] for variant in question.variants}
        self.trials: dict[Variant, list[tuple[int, float]]] = {variant: [] for variant in question.variants}
        """The seconds that batches of so many rows took, the median of the rounds included."""
        self._batches = 0

    def ask(self, share: float) -> document.Answer:
        """Measure, and answer; ``share``: of the time that is left.

        Raises _OutOfTimeError, which says why, where no round is completed.
        """
        workers = self._question.name == "workers"
        if workers and self._found.rows < POOL_RUNS:
            raise _OutOfTimeError(f"batchpersist run uses one process for fewer than {POOL_RUNS:,} runs")
        os.mkdir(self._folder)
        try:
            sample = self._choose(share, POOL_RUNS if workers else FIRST)
            proof, reason = self._measure(sample)
        except _OutOfTimeError:
            limit = rough_duration(self._options.max_time_seconds)
            raise _OutOfTimeError(f"not one round of all its variants fitted into {limit}") from None
        plan = self._found.plan(sample.rows)
        variants = figures(self._measured, self._options.seed)
        return document.Answer(
            question=self._question.name,
            sample=document.Sample(
                runs=plan.selected, tasks=plan.tasks, bytes=plan.size, reason=sample.reason
            ),
            rounds=document.Rounds(
                measured=len(variants[0].walls), warmup=self._warmup(sample), reason=reason
            ),
            variants=variants,
            proof=proof.as_document(),
            answer=answer(self._question.name, variants, usable_cpus(), seed=self._options.seed),
        )

    def _place(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def _choose(self, share: float, least: int) -> Sample:
        """Modes: a small sample in all rounds. Workers: all runs, if need be in fewer rounds."""
        options, others = self._options, self._bench.context.deadline.seconds_left * (1 - share)
        rounds = [options.warmup + options.rounds]
        if self._question.name == "workers":
            rounds += range(options.rounds, min(MIN_ROUNDS, options.rounds) - 1, -1)
        costs = {variant: Cost(self._found.written(variant)) for variant in self._question.variants}
        return choose_sample(
            self._found.rows,
            costs,
            rounds,
            trial=self._try,
            left=lambda: self._bench.context.deadline.seconds_left - others,
            least=least,
        )

    def _warmup(self, sample: Sample) -> int:
        return max(0, sample.rounds - self._options.rounds)

    def _try(self, variant: Variant, rows: int) -> float:
        begun = perf_counter()
        before, tree = self._place("before"), self._place(variant.name)
        self._bench.freeze(self._found, rows, before)
        measurement = self._bench.do(variant, rows, before, tree)
        remove(tree)
        self.trials[variant].append((rows, measurement.wall))
        self._report("try", None)
        return perf_counter() - begun

    def _measure(self, sample: Sample) -> tuple[Proof, str | None]:
        """Measure all rounds; returns why there were fewer than was asked for, if there were."""
        self._batches, longest, warmup = 0, 0.0, self._warmup(sample)
        self._bench.freeze(self._found, sample.rows, self._place("before"))
        proof = Proof(self._place("reference"))
        for number, turn in enumerate(turns(self._question.variants, sample.rounds)):
            begun = perf_counter()
            try:
                if self._bench.context.deadline.seconds_left < longest:
                    raise _OutOfTimeError
                measured = {variant: self._do(variant, sample, number, proof) for variant in turn}
            except _OutOfTimeError:
                if number <= warmup:
                    raise
                break
            longest = max(longest, perf_counter() - begun)
            if number >= warmup:
                for variant, measurement in measured.items():
                    self._measured[variant].append(measurement)
        for variant, rounds in self._measured.items():
            self.trials[variant].append((sample.rows, median(each.wall for each in rounds)))
        if len(rounds) == self._options.rounds:
            return proof, None
        return (
            proof,
            f"more of them would not have fitted into {rough_duration(self._options.max_time_seconds)}",
        )

    def _do(self, variant: Variant, sample: Sample, number: int, proof: Proof) -> Measurement:
        tree = self._place(variant.name)
        measurement = self._bench.do(variant, sample.rows, self._place("before"), tree)
        proof.check(tree, variant.name, number)
        if not self._options.keep_scratch:
            remove(tree)
        self._report("measure", sample.rounds * len(self._question.variants))
        return measurement

    def _report(self, phase: Literal["try", "measure"], total: int | None) -> None:
        self._batches += 1
        self._bench.context.on_event(Progress(phase, self._batches, total, 0))


def figures(measured: Mapping[Variant, Sequence[Measurement]], seed: int) -> list[document.Variant]:
    """The figures of each variant over all rounds; the others are compared with the first one."""
    base = [each.wall for each in next(iter(measured.values()))]
    return [_figures(variant, rounds, base, seed) for variant, rounds in measured.items()]


def _figures(
    variant: Variant, rounds: Sequence[Measurement], base: Sequence[float], seed: int
) -> document.Variant:
    walls = [each.wall for each in rounds]
    # One round as it was, so that its figures belong together: that of the (lower) median.
    typical = rounds[walls.index(median_low(walls))]
    metrics = typical.metrics
    ratio = speedup(base, walls, seed=seed)
    return document.Variant(
        name=variant.name,
        mode=variant.mode,
        workers=variant.workers,
        walls=[seconds(wall) for wall in walls],
        median=seconds(median(walls)),
        min=seconds(min(walls)),
        max=seconds(max(walls)),
        runs_per_second=round(metrics.counts.selected / median(walls), 1),
        speedup=document.Speedup(
            estimate=round(ratio.estimate, 4), low=_rounded(ratio.low), high=_rounded(ratio.high)
        ),
        cpu_seconds=seconds(typical.cpu_seconds),
        bytes_written=metrics.bytes.snapshots + metrics.bytes.manifests,
        syncs=metrics.timing.syncs,
        phases=typical.phases(variant.workers),
        pair_seconds=metrics.timing.pair_seconds,
        sum_if_sequential=metrics.timing.sum_if_sequential,
        counts=metrics.counts,
    )


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 4)


def _one_by_one(trials: Mapping[Variant, Sequence[tuple[int, float]]], found: Survey) -> float | None:
    """Seconds of all runs with a commit for each, in one process; None where none of them was measured."""
    for variant in (Variant("sequential", 1), Variant("paired", 1)):
        if trials.get(variant):
            return likely_seconds(trials[variant], found.written(variant), found.rows)
    return None


def _history(bench: _Bench, found: Survey) -> document.History:
    tasks = found.plan(found.rows).rows["task_id"].unique().to_pylist()
    sizes = [size for task_id in tasks if (size := history_size(bench.real, task_id))]
    return document.History(copied=bench.options.with_history, tasks=len(sizes), bytes=sum(sizes))


def _host(path: str) -> document.Host:
    return document.Host(
        cpus=usable_cpus(),
        python=platform.python_version(),
        platform=platform.platform(),
        file_system=file_system(path),
    )


def file_system(path: str) -> str:
    """The kind of file system that a path is on, e.g. ``ext4``; ``unknown`` where nothing tells."""
    import psutil

    path = os.path.join(os.path.realpath(path), "")
    found = ("", "unknown")
    with suppress(OSError, psutil.Error):
        for mounted in psutil.disk_partitions(all=True):
            point = os.path.join(mounted.mountpoint, "")
            if path.startswith(point) and len(point) >= len(found[0]):
                found = (point, mounted.fstype)
    return found[1]
