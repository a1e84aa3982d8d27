"""Choosing a sample by the time there is, on a clock that the test turns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from random import Random

import pytest

from batchpersist.compare.options import Variant
from batchpersist.compare.sampling import FIRST, SLOWEST, STEP, Cost, Sample, choose_sample, likely_seconds

SLOW, FAST = Variant("sequential", 1), Variant("grouped", 1)
RUN = 1000
"""Bytes."""


def written(available: int, tasks: int, commit: str) -> list[int]:
    """Bytes of snapshots by the number of runs, that come to the tasks in turns."""
    sizes = (RUN * (run // tasks + 1) if commit == "run" else RUN for run in range(available))
    return list(accumulate(sizes))


class World:
    """Batches that take what they would: to start, for each run, for each byte of snapshot."""

    def __init__(
        self, available: int, max_time: float, *, noise: Callable[[int], float] = lambda _n: 1.0
    ) -> None:
        self.available = available
        self.max_time = max_time
        self.now = 0.0
        self.trials: list[tuple[Variant, int]] = []
        self._noise = noise
        self.written = {v: written(3 * available, 10, v.commit) for v in (SLOW, FAST)}

    def takes(self, variant: Variant, rows: int) -> float:
        each = 4e-3 if variant is SLOW else 1e-4
        return 0.5 + rows * each + self.written[variant][rows - 1] * 2e-9

    @property
    def seconds_left(self) -> float:
        return self.max_time - self.now

    def try_variant(self, variant: Variant, rows: int) -> float:
        self.trials.append((variant, rows))
        seconds = self.takes(variant, rows) * self._noise(len(self.trials))
        self.now += seconds
        return seconds

    def choose(self, *rounds: int, least: int = FIRST, variants: Sequence[Variant] = (SLOW, FAST)) -> Sample:
        costs = {variant: Cost(self.written[variant]) for variant in variants}
        return choose_sample(self.available, costs, rounds or (6,), self, least=least)

    def rounds_take(self, rows: int, rounds: int = 6) -> float:
        return rounds * sum(self.takes(variant, rows) for variant in (SLOW, FAST))


def test_few_runs_are_all_compared_and_nothing_is_tried() -> None:
    world = World(FIRST, 1.0)
    assert world.choose() == (FIRST, 6, None)
    assert world.trials == []


def test_all_are_compared_where_there_is_time() -> None:
    world = World(20_000, 36_000.0)
    assert world.choose() == (20_000, 6, None)


@pytest.mark.parametrize("available", [5_000, 50_000])
@pytest.mark.parametrize("max_time", [60.0, 300.0, 1_200.0])
def test_the_sample_is_about_as_large_as_the_time_allows(available: int, max_time: float) -> None:
    world = World(available, max_time)
    rows, _, reason = world.choose()
    left = max_time - world.now
    if reason is None:
        assert rows == available
        assert world.rounds_take(rows) <= left
    else:
        assert f"all {available:,}" in reason
        assert world.rounds_take(rows) <= left < world.rounds_take(3 * rows)


def test_reason_estimates_the_whole_time_from_above() -> None:
    world = World(20_000, 300.0)
    reason = world.choose().reason
    assert reason is not None
    found = re.search(r"sequential would take up to ([\d.]+) (s|min) ", reason)
    assert found
    seconds = float(found[1]) * (60 if found[2] == "min" else 1)
    assert world.takes(SLOW, 20_000) * 0.97 <= seconds <= 6 * world.takes(SLOW, 20_000)


def test_hopelessly_slow_variant_costs_little_time() -> None:
    world = World(1_000_000, 120.0)
    rows, _, reason = world.choose()
    assert reason is not None
    assert world.now < 0.2 * 120
    assert rows < 10_000


def test_smallest_sample_is_chosen_without_any_time() -> None:
    world = World(5_000, 0.1)
    rows, _, reason = world.choose()
    assert rows == FIRST
    assert reason is not None
    assert [rows for _, rows in world.trials] == [1, 1, FIRST, FIRST]


def test_no_trial_is_much_larger_than_the_one_before() -> None:
    world = World(50_000, 3_600.0)
    world.choose()
    sizes = [rows for variant, rows in world.trials if variant is SLOW]
    assert sizes[:2] == [1, FIRST]
    assert all(later == STEP * sooner for sooner, later in pairwise(sizes[1:]))


@pytest.mark.parametrize("seed", range(8))
def test_noisy_trials_exceed_the_time_only_a_little(seed: int) -> None:
    world = World(20_000, 300.0, noise=lambda trial: 0.7 + 0.6 * ((trial * 7 + seed * 3) % 11) / 10)
    rows, _, _ = world.choose()
    assert world.rounds_take(rows) <= 3 * (300.0 - world.now)


@pytest.mark.parametrize("per_byte", [0.0, 1e-9, 1e-8, 1 / SLOWEST])
def test_cost_is_between_the_true_one_and_that_of_the_slowest_disk(per_byte: float) -> None:
    written_bytes = written(10_000, 10, "run")
    cost = Cost(written_bytes)
    for rows in (1, 100, 400):
        cost.learn(rows, 2 + (3e-3 * rows + per_byte * written_bytes[rows - 1] if rows > 1 else 0))
    exact = 2 + 3e-3 * 10_000 + per_byte * written_bytes[-1]
    assert exact * 0.999 <= cost.seconds(10_000) <= exact + written_bytes[-1] / SLOWEST


def test_noise_counts_as_bytes_only_up_to_the_slowest_disk() -> None:
    written_bytes = written(20_000, 200, "run")
    cost = Cost(written_bytes)
    cost.learn(1, 1.0)
    cost.learn(400, 30.0)  # the disk was busy
    assert cost.seconds(20_000) < 29 * 50 + written_bytes[-1] / SLOWEST + 2


def test_fewer_rounds_are_preferred_to_fewer_runs() -> None:
    """How many workers is a question about as many runs as a batch has."""
    world = World(30_000, 22.0)
    rows, rounds, reason = world.choose(6, 5, 4, 3, least=2_000, variants=(FAST,))
    assert (rows, reason) == (30_000, None)
    assert 3 <= rounds < 6
    assert rounds * world.takes(FAST, rows) <= 22.0 - world.now < 6 * world.takes(FAST, rows)


def test_a_sample_is_never_below_the_least() -> None:
    world = World(30_000, 0.5)
    rows, rounds, reason = world.choose(6, 3, least=2_000, variants=(FAST,))
    assert (rows, rounds) == (2_000, 3)
    assert reason is not None


@pytest.mark.parametrize("per_byte", [0.0, 1e-9, 1e-8])
def test_likely_seconds_follow_the_measured_growth(per_byte: float) -> None:
    written_bytes = written(30_000, 10, "run")

    def takes(rows: int) -> float:
        return 0.3 + 2e-3 * rows + per_byte * written_bytes[rows - 1]

    trials = [(rows, takes(rows)) for rows in (1, 100, 400, 900)]
    assert likely_seconds(trials, written_bytes, 30_000) == pytest.approx(takes(30_000), rel=0.02)


@pytest.mark.parametrize("seed", range(8))
def test_likely_seconds_of_noisy_trials_are_bounded(seed: int) -> None:
    random = Random(seed)
    written_bytes = written(30_000, 10, "run")

    def takes(rows: int) -> float:
        return 0.3 + 2e-3 * rows + 2e-9 * written_bytes[rows - 1]

    trials = [(rows, takes(rows) * random.uniform(0.85, 1.15)) for rows in (1, 100, 400, 1_600)]
    guess = likely_seconds(trials, written_bytes, 30_000)
    assert 0.5 * 2e-3 * 30_000 <= guess <= 0.3 + 2.5e-3 * 30_000 + written_bytes[-1] / SLOWEST


def test_likely_seconds_of_a_single_trial_are_proportional() -> None:
    assert likely_seconds([(50, 2.0)], written(50, 10, "run"), 50) == 2.0
