"""Which ways are compared, what they tell the engine, and in which order they take turns."""

from __future__ import annotations

from collections import Counter

import pytest

from batchpersist.compare.options import CompareOptions, Roots
from batchpersist.compare.variants import Variant, turns, variants_of
from batchpersist.errors import UsageError
from batchpersist.locking.locks import LockPolicy
from batchpersist.models import Durability, Keys
from batchpersist.planning.plan import Selection


def names(modes: tuple[str, ...], workers: tuple[int, ...]) -> list[str]:
    return [variant.name for variant in variants_of(modes, workers)]  # type: ignore[arg-type]


def test_modes_with_a_pool_come_with_each_number_of_workers() -> None:
    assert names(("sequential", "paired", "parallel", "grouped"), (1, 2, 4)) == [
        "sequential",
        "paired",
        "parallel-2",
        "parallel-4",
        "grouped-1",
        "grouped-2",
        "grouped-4",
    ]


def test_parallel_with_one_worker_is_paired_unless_that_is_not_there() -> None:
    assert names(("parallel",), (1, 2)) == ["parallel-1", "parallel-2"]
    assert names(("grouped", "sequential"), (2, 2)) == ["grouped-2", "sequential"]


@pytest.mark.parametrize(
    ("variant", "told"),
    [
        (Variant("sequential", 1), ("run", "sequential", 1)),
        (Variant("paired", 1), ("run", "concurrent", 1)),
        (Variant("parallel", 3), ("run", "concurrent", 3)),
        (Variant("grouped", 2), ("task", "concurrent", 2)),
    ],
)
def test_what_each_tells_the_engine(variant: Variant, told: tuple[str, str, int]) -> None:
    options = CompareOptions(
        keys=Keys("a", "b", "c"),
        selection=Selection(("t*",), "2026", "2027", 99),
        durability=Durability.NONE,
        lock=LockPolicy(attempts=2),
        force=True,
    )
    batch = options.batch_options(variant, Roots("o", "r", "m"), limit=7)
    assert (batch.commit, batch.pair, batch.workers) == told
    assert (batch.out_dir, batch.runs_dir, batch.metrics) == ("o", "r", "m")
    assert batch.selection == Selection(("t*",), "2026", "2027", 7)
    assert (batch.keys, batch.durability, batch.lock, batch.force) == (
        options.keys,
        options.durability,
        options.lock,
        True,
    )
    assert not batch.resume
    assert batch.pool_runs == 0


def test_each_has_its_turn_once_a_round_and_not_always_behind_the_same_one() -> None:
    variants = variants_of(("sequential", "paired", "grouped"), (1,))
    rounds = list(turns(variants, 7))
    assert all(Counter(turn) == Counter(variants) for turn in rounds)
    assert [turn[0].name for turn in rounds[:4]] == ["sequential", "paired", "grouped-1", "sequential"]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"modes": ("paired", "fast")}, "no mode 'fast'"),
        ({"modes": ()}, "at least one mode"),
        ({"workers": ()}, "at least one number of workers"),
        ({"workers": (2, 0)}, "at least one worker is needed, not 0"),
        ({"rounds": 0}, "at least one round"),
        ({"warmup": -1}, "at least one round"),
        ({"max_time": 0}, "some time"),
        ({"max_time": float("nan")}, "some time"),
        ({"out_dir": "x", "runs_dir": "./x"}, "two folders"),
        ({"durability": "eternal"}, "eternal"),
    ],
)
def test_what_cannot_be_done_is_refused(wrong: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        CompareOptions(**wrong)  # type: ignore[arg-type]
