"""The advice: one set of figures for each rule."""

from __future__ import annotations

from typing import Any

import pytest

from batchpersist.compare.advice import advise
from batchpersist.compare.host import describe_host, file_system

NOISE = (1.0, 1.02, 0.99, 1.01, 0.98)
OTHER = (0.99, 1.0, 1.02, 0.98, 1.01)


def variant(
    mode: str, workers: int, seconds: float, *, noise: tuple[float, ...] = NOISE, **figures: Any
) -> dict[str, Any]:
    walls = [seconds * factor for factor in noise]
    phases = dict.fromkeys(
        ("read", "parse", "lock_wait", "snapshot", "manifest", "sync", "pool", "other"), 0.0
    )
    return {
        "name": f"{mode}-{workers}" if mode in ("parallel", "grouped") else mode,
        "mode": mode,
        "workers": workers,
        "walls": walls,
        "median": sorted(walls)[len(walls) // 2],
        "cpu_seconds": 0.0,
        "counts": {"selected": 100, "unchanged": 0},
        **figures,
        "phases": phases | figures.get("phases", {}),
    }


def test_the_fastest_is_named_with_how_sure_that_is() -> None:
    advice = advise([variant("sequential", 1, 60), variant("grouped", 1, 2, noise=OTHER)], cpus=2)
    assert advice == "Use grouped-1: 30 times as fast as sequential (29 to 31)."


def test_the_simpler_one_where_two_cannot_be_told_apart() -> None:
    variants = [
        variant("sequential", 1, 60),
        variant("grouped", 1, 2),
        variant("grouped", 2, 1.99, noise=OTHER),
    ]
    assert advise(variants, cpus=2).startswith("Use grouped-1: 30 times as fast as sequential")
    assert "2 workers and 1 show no difference that this measurement can tell" in advise(variants, cpus=2)


def test_where_nothing_is_written_nothing_is_said_of_writing() -> None:
    counts = {"selected": 100, "unchanged": 100}
    variants = [variant("sequential", 1, 60, counts=counts), variant("grouped", 1, 2, counts=counts)]
    assert "all of these runs stand already, so nothing was written" in advise(variants, cpus=2)


def test_no_difference_at_all() -> None:
    variants = [variant("sequential", 1, 2), variant("paired", 1, 2, noise=OTHER)]
    assert advise(variants, cpus=2) == (
        "Between sequential and paired there is no difference that this measurement can tell."
    )


def test_the_first_may_be_the_fastest() -> None:
    assert (
        advise([variant("grouped", 1, 1), variant("sequential", 1, 3)], cpus=2) == "Grouped-1 is the fastest."
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
def test_what_more_workers_bring_and_what_the_limit_is(figures: dict[str, Any], limit: str) -> None:
    variants = [
        variant("grouped", 1, 2.2),
        variant("grouped", 2, 2.06),
        variant("grouped", 4, 2.0, **figures),
    ]
    advice = advise(variants, cpus=2)
    assert f"4 workers gain 3% over 2 here{limit}" in advice


def test_workers_that_bring_what_they_can_need_no_limit() -> None:
    variants = [variant("grouped", 1, 4.0), variant("grouped", 2, 2.1, cpu_seconds=4.0)]
    assert advise(variants, cpus=2).endswith("2 workers gain 90% over 1 here.")


def test_workers_that_slow_it_down() -> None:
    variants = [variant("grouped", 1, 1.0), variant("grouped", 2, 1.5)]
    assert "Grouped-1 is the fastest; 2 workers take 1.50 times as long as 1 here" in advise(variants, cpus=2)


@pytest.mark.parametrize(
    ("noise", "words"), [((1.0,), "1 round can hardly tell"), ((1.0, 1.1), "2 rounds can")]
)
def test_few_rounds_are_doubted(noise: tuple[float, ...], words: str) -> None:
    variants = [variant("sequential", 1, 9, noise=noise), variant("grouped", 1, 2, noise=noise)]
    assert words in advise(variants, cpus=2)


def test_a_short_job_is_doubted() -> None:
    variants = [variant("sequential", 1, 0.4), variant("grouped", 1, 0.2)]
    assert "more runs would say more" in advise(variants, cpus=2)


def test_one_alone_and_none_at_all() -> None:
    assert "nothing to compare it with" in advise([variant("grouped", 1, 1)], cpus=2)
    none = [variant(mode, 1, 1, counts={"selected": 0}) for mode in ("sequential", "paired")]
    assert "no runs" in advise(none, cpus=2)


def test_where_it_was_measured() -> None:
    host = describe_host(".")
    assert host["cpus"] >= 1
    assert host["file_system"] == file_system(".") != ""
    assert file_system("/proc/self") == "proc"
