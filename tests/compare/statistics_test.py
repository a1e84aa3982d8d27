"""How sure a ratio is: against all resamples there are, and against what is known to be true."""

from __future__ import annotations

import itertools
import math
from random import Random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchpersist.compare.statistics import estimate_speedup

_walls = st.floats(0.001, 1000)


def of_ratios(ratios: list[float]):
    return estimate_speedup(ratios, [1.0] * len(ratios))


def exact(ratios: list[float], share: float) -> float:
    """The quantile over all resamples that there are, each as likely as any other."""
    medians = sorted(median(drawn) for drawn in itertools.product(ratios, repeat=len(ratios)))
    return medians[min(len(medians) - 1, math.floor(share * len(medians)))]


@pytest.mark.parametrize("size", [3, 4, 5])
def test_interval_equals_that_of_all_resamples(size: int) -> None:
    random = Random(size)
    for _ in range(5):
        ratios = [random.lognormvariate(0, 1) for _ in range(size)]
        found = of_ratios(ratios)
        assert found.estimate == median(ratios)
        # Where a step of the distribution is close to 2.5%, the resampling may fall on either side.
        assert exact(ratios, 0.015) <= found.low <= exact(ratios, 0.035)
        assert exact(ratios, 0.965) <= found.high <= exact(ratios, 0.985)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(_walls, _walls), min_size=3, max_size=9))
def test_estimate_is_within_the_interval_and_both_within_the_ratios(walls: list[tuple[float, float]]) -> None:
    base, other = zip(*walls, strict=True)
    found = estimate_speedup(base, other)
    ratios = [one / two for one, two in walls]
    assert min(ratios) <= found.low <= found.estimate <= found.high <= max(ratios)
    assert found == estimate_speedup(base, other)


@settings(max_examples=10, deadline=None)
@given(st.lists(_walls, min_size=3, max_size=9), st.floats(1.001, 50))
def test_a_machine_that_is_slow_in_some_rounds_does_not_blur_the_ratio(
    walls: list[float], ratio: float
) -> None:
    found = estimate_speedup(walls, [wall / ratio for wall in walls])
    assert found.low == pytest.approx(ratio)
    assert found.high == pytest.approx(ratio)
    assert found.is_sure


def test_a_variant_is_as_fast_as_itself() -> None:
    assert estimate_speedup([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == (1.0, 1.0, 1.0)
    assert not estimate_speedup([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).is_sure


@pytest.mark.parametrize(("rounds", "at_least"), [(5, 0.88), (10, 0.90), (15, 0.90)])
def test_interval_contains_the_true_ratio_as_often_as_documented(rounds: int, at_least: float) -> None:
    random = Random(rounds)
    trials, held = 150, 0
    for _ in range(trials):
        found = of_ratios([2 * random.lognormvariate(0, 0.3) for _ in range(rounds)])
        held += found.low <= 2 <= found.high
    assert held / trials >= at_least


def test_noise_alone_is_not_a_sure_difference() -> None:
    assert not estimate_speedup([1.0, 1.1, 0.9, 1.0, 1.05], [1.02, 1.0, 1.0, 0.97, 1.1]).is_sure
    assert estimate_speedup([1.0, 1.1, 0.9, 1.0, 1.05], [0.5, 0.6, 0.5, 0.5, 0.5]).is_sure


@pytest.mark.parametrize("walls", [[1.0], [1.0, 1.1]])
def test_fewer_than_three_rounds_have_no_interval_and_are_not_sure(walls: list[float]) -> None:
    found = estimate_speedup(walls, [wall / 9 for wall in walls])
    assert (found.low, found.high, found.is_sure) == (None, None, False)
    assert found.estimate == pytest.approx(9)
