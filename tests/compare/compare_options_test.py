"""Which variants are compared, the options of their batches, and the order of their turns."""

from __future__ import annotations

from collections import Counter

import pytest

from batchpersist.compare.options import (
    CompareOptions,
    Roots,
    Variant,
    build_batch_options,
    plan_questions,
    plan_rounds,
)
from batchpersist.errors import UsageError
from batchpersist.models import Durability, Keys
from batchpersist.options import LockPolicy, Selection


def questions(modes: tuple[str, ...], workers: tuple[int, ...]) -> dict[str, list[str]]:
    options = CompareOptions(modes=modes, workers=workers)  # type: ignore[arg-type]
    return {
        question.name: [variant.name for variant in question.variants] for question in plan_questions(options)
    }


def test_both_questions_are_asked_and_each_mode_is_measured_once() -> None:
    found = questions(("sequential", "paired", "parallel", "grouped"), (2, 1, 4))
    assert found == {
        "workers": ["grouped-1", "grouped-2", "grouped-4"],
        "mode": ["sequential", "paired", "parallel-4", "grouped-1"],
    }
    assert list(found) == ["workers", "mode"]


def test_the_number_of_workers_is_not_asked_where_only_one_is_given() -> None:
    assert questions(("sequential", "grouped"), (2,)) == {"mode": ["sequential", "grouped-1"]}


def test_the_mode_is_not_asked_where_only_one_is_given() -> None:
    assert questions(("parallel",), (1, 2)) == {"workers": ["parallel-1", "parallel-2"]}


def test_single_variant_is_measured() -> None:
    assert questions(("grouped",), (1,)) == {"mode": ["grouped-1"]}


def test_parallel_with_one_worker_is_left_out_beside_paired() -> None:
    assert questions(("paired", "parallel"), (1,)) == {"mode": ["paired"]}
    assert questions(("sequential", "parallel"), (1,)) == {"mode": ["sequential", "parallel-1"]}


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (Variant("sequential", 1), ("run", "sequential", 1)),
        (Variant("paired", 1), ("run", "concurrent", 1)),
        (Variant("parallel", 3), ("run", "concurrent", 3)),
        (Variant("grouped", 2), ("task", "concurrent", 2)),
    ],
)
def test_variant_sets_the_options_of_its_batch(variant: Variant, expected: tuple[str, str, int]) -> None:
    options = CompareOptions(
        keys=Keys("a", "b", "c"),
        selection=Selection(("t*",), "2026-01-01", "2026-12-31", 99),
        durability=Durability.NONE,
        lock_policy=LockPolicy(attempts=2),
        force=True,
    )
    batch = build_batch_options(options, variant, Roots("o", "r", "m"), limit=7)
    assert (batch.commit, batch.pair, batch.workers) == expected
    assert (batch.out_dir, batch.runs_dir, batch.metrics) == ("o", "r", "m")
    assert batch.selection == Selection(("t*",), "2026-01-01", "2026-12-31", 7)
    assert (batch.keys, batch.durability, batch.lock_policy, batch.force) == (
        options.keys,
        options.durability,
        options.lock_policy,
        True,
    )
    assert not batch.resume
    assert batch.pool_runs == 0


def test_each_round_has_all_variants_and_begins_with_the_next_one() -> None:
    variants = plan_questions(CompareOptions(modes=("sequential", "paired", "grouped"), workers=(1,)))[
        0
    ].variants
    rounds = list(plan_rounds(variants, 7))
    assert all(Counter(turn) == Counter(variants) for turn in rounds)
    assert [turn[0].name for turn in rounds[:4]] == ["sequential", "paired", "grouped-1", "sequential"]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"modes": ("paired", "fast")}, "modes must be .*'grouped', not .*'fast'"),
        ({"modes": ()}, "at least one mode"),
        ({"workers": ()}, "at least one number of workers"),
        ({"workers": (2, 0)}, "at least one worker is needed, not 0"),
        ({"rounds": 0}, "at least one round"),
        ({"warmup": -1}, "cannot be negative: -1"),
        ({"max_time_seconds": 0}, "some time"),
        ({"max_time_seconds": float("nan")}, "a finite number"),
        ({"durability": "eternal"}, "eternal"),
    ],
)
def test_impossible_options_are_refused(wrong: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        CompareOptions(**wrong)  # type: ignore[arg-type]
