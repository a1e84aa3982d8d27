"""Measures the variants of one question: a sample by trials, then all variants in each round."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, median_low
from time import perf_counter
from typing import Literal

from ..context import RunContext
from ..errors import ComparisonStoppedError, MeasurementError
from ..events import Progress
from ..metrics.build import seconds
from ..options import POOL_RUNS
from ..paths import Layout
from ..wording import rough_duration
from ..workers import usable_cpus
from . import document
from .measure import Measurement, measure
from .options import CompareOptions, Question, Roots, Variant, build_batch_options, plan_rounds
from .sampling import FIRST, Cost, Sample, choose_sample
from .scratch import remove
from .statistics import MIN_ROUNDS, answer_question, estimate_speedup
from .survey import Survey
from .trees import Proof

_log = logging.getLogger(__name__)


class _OutOfTimeError(Exception):
    """The time is up, or does not suffice for the next batch."""


@dataclass(frozen=True)
class Bench:
    """What all questions share: the runs, the scratch folder, the time, and how a batch is measured."""

    sources: Sequence[str]
    """Without standard input, which can be read only once."""
    options: CompareOptions
    scratch: str
    survey: Survey
    context: RunContext

    def copy_histories(self, rows: int, folder: str) -> None:
        """Copy what exists of the first ``rows``: all rounds find the same, whatever is written meanwhile."""
        remove(folder)
        os.mkdir(folder)
        if self.options.with_history:
            self.survey.copy_histories(
                rows, Layout(os.path.join(folder, "out"), os.path.join(folder, "runs"))
            )

    def measure(self, variant: Variant, rows: int, histories: str, root: str) -> Measurement:
        """Have a batch do the first ``rows`` in a variant's way; its tree is ``root`` afterwards.

        ``histories``: the folder that ``copy_histories`` made, with which the tree begins. Raises
        _OutOfTimeError where the time ends before the batch does.
        """
        remove(root)
        shutil.copytree(histories, root, symlinks=True)
        exchange = os.path.join(self.scratch, "exchange")
        metrics = os.path.join(exchange, "metrics.json")
        roots = Roots(os.path.join(root, "out"), os.path.join(root, "runs"), metrics)
        os.sync()  # or this batch would pay for what an earlier one left to be written
        options = build_batch_options(self.options, variant, roots, limit=rows)
        try:
            measurement = measure(self.sources, options, exchange, self.context)
        except ComparisonStoppedError:
            if self.context.should_stop():
                raise
            raise _OutOfTimeError from None
        counts = measurement.metrics.counts
        if counts.selected + counts.superseded != rows:
            raise MeasurementError("the sources were changed while they were compared")
        return measurement


class Experiment:
    """One question, measured in a folder of its own. Its trials choose the sample (``sampling.Trials``)."""

    def __init__(self, bench: Bench, question: Question) -> None:
        self._bench = bench
        self._options = bench.options
        self._survey = bench.survey
        self._question = question
        self._asks_workers = question.name == "workers"
        self._folder = os.path.join(bench.scratch, question.name)
        self._seconds_reserved = 0.0
        self._measured: dict[Variant, list[Measurement]] = {variant: [] for variant in question.variants}
        self.trials: dict[Variant, list[tuple[int, float]]] = {variant: [] for variant in question.variants}
        """The seconds that batches of so many rows took, the median of the rounds included."""
        self._batches = 0

    def run(self, share: float) -> document.Answer | document.Unanswered:
        """Measure, and answer with what was measured; unanswered where not one round was completed.

        ``share``: of the time that is left. Raises MeasurementError, ComparisonStoppedError and OSError.
        """
        if self._asks_workers and self._survey.rows < POOL_RUNS:
            return self._unanswered(f"batchpersist run uses one process for fewer than {POOL_RUNS:,} runs")
        self._seconds_reserved = self._bench.context.deadline.seconds_left * (1 - share)
        os.mkdir(self._folder)
        try:
            sample = self._choose_sample()
            proof = self._measure_rounds(sample)
        except _OutOfTimeError:
            limit = rough_duration(self._options.max_time_seconds)
            return self._unanswered(f"not one round of all its variants fitted into {limit}")
        return self._answer(sample, proof)

    @property
    def seconds_left(self) -> float:
        """For this question; negative once they have passed."""
        return self._bench.context.deadline.seconds_left - self._seconds_reserved

    def try_variant(self, variant: Variant, rows: int) -> float:
        """Measure one batch of so many rows; returns the seconds that took, with the copying."""
        started = perf_counter()
        histories, tree = self._place("before"), self._place(variant.name)
        self._bench.copy_histories(rows, histories)
        measurement = self._bench.measure(variant, rows, histories, tree)
        remove(tree)
        self.trials[variant].append((rows, measurement.wall))
        self._report_batch("try", None)
        return perf_counter() - started

    def _choose_sample(self) -> Sample:
        """Modes: a small sample in all rounds. Workers: all runs, if need be in fewer rounds."""
        options = self._options
        rounds = [options.warmup + options.rounds]
        if self._asks_workers:
            rounds += range(options.rounds, min(MIN_ROUNDS, options.rounds) - 1, -1)
        costs = {variant: Cost(self._survey.written(variant)) for variant in self._question.variants}
        least = POOL_RUNS if self._asks_workers else FIRST
        sample = choose_sample(self._survey.rows, costs, rounds, self, least=least)
        _log.debug("%s: %d runs in %d rounds (%s)", self._question.name, *sample)
        return sample

    def _measure_rounds(self, sample: Sample) -> Proof:
        """Measure all rounds, or as many as the time allows; raises _OutOfTimeError where that is none."""
        self._batches, longest, warmup = 0, 0.0, self._warmup(sample)
        self._bench.copy_histories(sample.rows, self._place("before"))
        proof = Proof(self._place("reference"))
        for number, turn in enumerate(plan_rounds(self._question.variants, sample.rounds)):
            started = perf_counter()
            try:
                if self._bench.context.deadline.seconds_left < longest:
                    raise _OutOfTimeError
                measured = {variant: self._measure(variant, sample, number, proof) for variant in turn}
            except _OutOfTimeError:
                if number <= warmup:
                    raise
                _log.debug("%s: no time for round %d", self._question.name, number)
                break
            longest = max(longest, perf_counter() - started)
            if number >= warmup:
                for variant, measurement in measured.items():
                    self._measured[variant].append(measurement)
        for variant, rounds in self._measured.items():
            self.trials[variant].append((sample.rows, median(each.wall for each in rounds)))
        return proof

    def _measure(self, variant: Variant, sample: Sample, number: int, proof: Proof) -> Measurement:
        tree = self._place(variant.name)
        measurement = self._bench.measure(variant, sample.rows, self._place("before"), tree)
        proof.check(tree, variant.name, number)
        if not self._options.keep_scratch:
            remove(tree)
        self._report_batch("measure", sample.rounds * len(self._question.variants))
        return measurement

    def _answer(self, sample: Sample, proof: Proof) -> document.Answer:
        plan = self._survey.plan(sample.rows)
        variants = summarize(self._measured, self._options.seed)
        measured, limit = len(variants[0].walls), rough_duration(self._options.max_time_seconds)
        shortage = f"more of them would not have fitted into {limit}"
        return document.Answer(
            question=self._question.name,
            sample=document.Sample(
                runs=plan.selected, tasks=plan.tasks, bytes=plan.size, reason=sample.reason
            ),
            rounds=document.Rounds(
                measured=measured,
                warmup=self._warmup(sample),
                reason=shortage if measured < self._options.rounds else None,
            ),
            variants=variants,
            proof=proof.as_document(),
            answer=answer_question(self._question.name, variants, usable_cpus(), seed=self._options.seed),
        )

    def _unanswered(self, reason: str) -> document.Unanswered:
        return document.Unanswered(question=self._question.name, reason=reason)

    def _place(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def _warmup(self, sample: Sample) -> int:
        return max(0, sample.rounds - self._options.rounds)

    def _report_batch(self, phase: Literal["try", "measure"], total: int | None) -> None:
        self._batches += 1
        self._bench.context.on_event(Progress(phase, self._batches, total, 0))


def summarize(measured: Mapping[Variant, Sequence[Measurement]], seed: int) -> list[document.Variant]:
    """The figures of each variant over all rounds; the others are compared with the first one."""
    base = [each.wall for each in next(iter(measured.values()))]
    return [_variant_figures(variant, rounds, base, seed) for variant, rounds in measured.items()]


def _variant_figures(
    variant: Variant, rounds: Sequence[Measurement], base: Sequence[float], seed: int
) -> document.Variant:
    walls = [each.wall for each in rounds]
    # One round as it was, so that its figures belong together: that of the (lower) median.
    typical = rounds[walls.index(median_low(walls))]
    metrics = typical.metrics
    ratio = estimate_speedup(base, walls, seed=seed)
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
