"""The answers and the recommendation: one set of figures for each rule."""

from __future__ import annotations

from typing import Any

import pytest
from support import sample_metrics

from batchpersist.compare.document import PHASES, Answer, Proof, Rounds, Sample, Speedup, Variant
from batchpersist.compare.statistics import answer_question, recommend

NOISE = (1.0, 1.02, 0.99, 1.01, 0.98)
OTHER = (0.99, 1.0, 1.02, 0.98, 1.01)


def variant(
    mode: str, workers: int, seconds: float, *, noise: tuple[float, ...] = NOISE, **figures: Any
) -> Variant:
    walls = [seconds * factor for factor in noise]
    phases = dict.fromkeys(PHASES, 0.0) | figures.pop("phases", {})
    counts = figures.pop("counts", sample_metrics.counts(selected=100))
    return Variant(
        name=f"{mode}-{workers}" if mode in ("parallel", "grouped") else mode,
        mode=mode,
        workers=workers,
        walls=walls,
        median=sorted(walls)[len(walls) // 2],
        min=min(walls),
        max=max(walls),
        runs_per_second=1.0,
        speedup=Speedup(estimate=1.0, low=None, high=None),
        cpu_seconds=figures.get("cpu_seconds", 0.0),
        bytes_written=0,
        syncs=0,
        phases=phases,
        pair_seconds=0.0,
        sum_if_sequential=0.0,
        counts=counts,
    )


def answered(question: Any, variants: list[Variant], *, runs: int, reason: str | None = None) -> Answer:
    return Answer(
        question=question,
        sample=Sample(runs=runs, tasks=1, bytes=1, reason=reason),
        rounds=Rounds(measured=len(variants[0].walls), warmup=0, reason=None),
        variants=variants,
        proof=Proof(equal=True, digest="", files=0, trees=0, differences=[], differences_omitted=0),
        answer="",
    )


def test_the_fastest_mode_is_named_with_how_sure_that_is() -> None:
    variants = [variant("sequential", 1, 60), variant("grouped", 1, 2, noise=OTHER)]
    assert answer_question("mode", variants, 2) == "Grouped-1 is 30 times (29 to 31) as fast as sequential."


def test_modes_without_a_sure_difference_are_called_equal() -> None:
    variants = [variant("sequential", 1, 2), variant("paired", 1, 2, noise=OTHER)]
    assert answer_question("mode", variants, 2) == (
        "Between sequential and paired there is no difference that can be measured."
    )


def test_the_baseline_may_be_the_fastest() -> None:
    variants = [variant("grouped", 1, 1), variant("sequential", 1, 3)]
    assert answer_question("mode", variants, 2) == "Grouped-1 is the fastest."


def test_answer_for_unchanged_runs_says_that_nothing_was_written() -> None:
    counts = sample_metrics.counts(selected=100, unchanged=100)
    variants = [variant("sequential", 1, 60, counts=counts), variant("grouped", 1, 2, counts=counts)]
    assert "persisted already, so nothing was written: --without-history" in answer_question(
        "mode", variants, 2
    )


@pytest.mark.parametrize(
    ("figures", "limit"),
    [
        ({"phases": {"sync": 3.6, "snapshot": 0.2}}, ": the disk is the limit"),
        ({"phases": {"lock_wait": 3.5}}, ": the task locks are the limit"),
        ({"cpu_seconds": 3.7}, ": the CPUs are the limit"),
        ({"phases": {"pool": 3.5}}, ": starting and feeding the workers takes most of their time"),
        ({}, ""),
    ],
)
def test_answer_names_the_limit_of_more_workers(figures: dict[str, Any], limit: str) -> None:
    variants = [variant("grouped", 1, 2.3), variant("grouped", 2, 2.2), variant("grouped", 4, 2.0, **figures)]
    assert (
        answer_question("workers", variants, 2)
        == f"4 workers are 1.10 times (1.10 to 1.10) as fast as 2{limit}."
    )


def test_answer_names_no_limit_where_workers_scale() -> None:
    variants = [variant("grouped", 1, 4.0), variant("grouped", 2, 2.1, cpu_seconds=4.0)]
    assert answer_question("workers", variants, 2).endswith("as fast as 1.")


def test_answer_says_that_more_workers_are_slower() -> None:
    variants = [variant("grouped", 1, 1.0), variant("grouped", 2, 1.5)]
    assert answer_question("workers", variants, 2) == "2 workers take 1.50 times as long as 1."


@pytest.mark.parametrize(
    ("noise", "words"), [((1.0,), "1 round is too few"), ((1.0, 1.1), "2 rounds are too few")]
)
def test_too_few_rounds_are_doubted(noise: tuple[float, ...], words: str) -> None:
    variants = [variant("sequential", 1, 9, noise=noise), variant("grouped", 1, 2, noise=noise)]
    assert words in answer_question("mode", variants, 2)
    assert "(" not in answer_question("mode", variants, 2), "no interval"


def test_a_short_job_is_doubted() -> None:
    variants = [variant("sequential", 1, 0.4), variant("grouped", 1, 0.2)]
    assert "starting up is most of it" in answer_question("mode", variants, 2)


def test_single_variant_answers_nothing() -> None:
    assert "nothing to compare it with" in answer_question("mode", [variant("grouped", 1, 1)], 2)


MODES = [variant("sequential", 1, 60), variant("grouped", 1, 2, noise=OTHER)]


def test_the_number_of_workers_is_recommended_where_it_was_measured() -> None:
    workers = [variant("grouped", 1, 20), variant("grouped", 2, 12, noise=OTHER)]
    asked = [
        answered("workers", workers, runs=30_000),
        answered("mode", MODES, runs=400, reason="too slow"),
    ]
    found = recommend(asked, 30_000, 7_200.0)
    assert found.command == "batchpersist run SOURCES -j 2"
    assert (found.seconds, found.one_by_one_seconds) == (12 * 1.0, 7_200.0)
    assert found.is_sure


def test_mode_sample_recommends_no_number_of_workers() -> None:
    found = recommend([answered("mode", MODES, runs=355, reason="too slow")], 30_000, None)
    assert (found.command, found.seconds) == ("batchpersist run SOURCES", None)


def test_two_rounds_recommend_no_number_of_workers() -> None:
    workers = [
        variant("grouped", 1, 20, noise=(1.0, 1.1)),
        variant("grouped", 2, 12, noise=(1.0, 1.1)),
    ]
    found = recommend([answered("workers", workers, runs=30_000)], 30_000, None)
    assert (found.command, found.is_sure) == ("batchpersist run SOURCES", False)


def test_the_fewest_workers_are_recommended_where_more_make_no_difference() -> None:
    workers = [variant("grouped", 1, 12), variant("grouped", 2, 12, noise=OTHER)]
    found = recommend([answered("workers", workers, runs=5_000)], 10_000, None)
    assert (found.command, found.is_sure) == ("batchpersist run SOURCES -j 1", False)
    assert found.seconds == pytest.approx(24, rel=0.05), "in proportion to the runs"


@pytest.mark.parametrize(
    ("mode", "options"),
    [("sequential", " --commit run --pair sequential"), ("paired", " --commit run")],
)
def test_another_mode_is_recommended_with_the_options_that_choose_it(mode: str, options: str) -> None:
    variants = [variant("grouped", 1, 60), variant(mode, 1, 2, noise=OTHER)]
    found = recommend([answered("mode", variants, runs=100)], 100, None)
    assert found.command == f"batchpersist run SOURCES{options}"
