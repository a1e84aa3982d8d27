"""The plan is a pure function: nothing lost, nothing twice, tasks never shared by two commits."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine import file_columns

from batchpersist.arrow_tables import index_schema
from batchpersist.models import Work
from batchpersist.options import Selection
from batchpersist.plan.planner import Plan, make_plan
from batchpersist.plan.sharding import SHARD_BYTES, SHARD_RUNS, SHARD_TASKS
from batchpersist.sources.formats import Format
from batchpersist.sources.source import SourceFile


def index_of(runs: list[tuple[str, str, str, int]]) -> pa.Table:
    """An index of (task, run, timestamp, length) rows."""
    tasks, ids, times, lengths = zip(*runs, strict=True) if runs else ((), (), (), ())
    repeated = pa.dictionary(pa.int32(), pa.string())
    return pa.table(
        {
            "task_id": pa.array(tasks, pa.string()).cast(repeated),
            "run_id": pa.array(ids, pa.string()),
            "timestamp": pa.array(times, pa.string()),
            **file_columns(*[SourceFile("/source", "source", Format.LINES)] * len(runs)),
            "offset": pa.array(range(len(runs)), pa.int64()),
            "length": pa.array(lengths, pa.int64()),
            "line": pa.array(range(1, len(runs) + 1), pa.int64()),
            "known": pa.nulls(len(runs), pa.int32()),
        },
        schema=index_schema(),
    )


def lines(plan: Plan) -> list[int]:
    return plan.rows["line"].to_pylist()


def covered(plan: Plan, *works: Work) -> Counter[int]:
    """How often each row is in a shard of one of these kinds."""
    return Counter(
        row for shard in plan.shards if shard.work in works for row in range(shard.start, shard.stop)
    )


ROW = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from("uvwxyz"),
    st.just("2026-01-01"),
    st.integers(1, 9_000_000),
)


@given(st.lists(ROW, max_size=60), st.integers(1, 4))
def test_each_side_of_each_row_is_settled_by_exactly_one_shard(
    runs: list[tuple[str, str, str, int]], workers: int
) -> None:
    plan = make_plan(index_of(runs), Selection(), workers=workers)
    every_row_once = Counter(range(len(runs)))
    assert covered(plan, Work.PAIR, Work.SNAPSHOT) == every_row_once
    assert covered(plan, Work.PAIR, Work.MANIFEST) == every_row_once


@given(st.lists(ROW, max_size=60), st.integers(1, 4))
def test_a_task_is_committed_by_one_shard_in_source_order(
    runs: list[tuple[str, str, str, int]], workers: int
) -> None:
    plan = make_plan(index_of(runs), Selection(), workers=workers)
    tasks = plan.rows["task_id"].to_pylist()
    owners: dict[str, set[int]] = {}
    for shard in plan.shards:
        if shard.work is not Work.MANIFEST:
            for row in range(shard.start, shard.stop):
                owners.setdefault(tasks[row], set()).add(shard.number)
    assert all(len(numbers) == 1 for numbers in owners.values())
    for task in set(tasks):
        own = [line for line, of in zip(lines(plan), tasks, strict=True) if of == task]
        assert own == sorted(own)


@given(st.lists(ROW, max_size=60))
def test_all_but_the_last_of_a_run_are_superseded(runs: list[tuple[str, str, str, int]]) -> None:
    plan = make_plan(index_of(runs), Selection(), workers=1)
    last = {(task, run): line for line, (task, run, _, _) in enumerate(runs, 1)}
    expected = set(range(1, len(runs) + 1)) - set(last.values())
    flags = plan.rows["superseded"].to_pylist()
    assert {line for line, flag in zip(lines(plan), flags, strict=True) if flag} == expected
    assert plan.superseded == len(expected)
    assert plan.selected == len(last)


def test_shards_are_numbered_largest_first() -> None:
    runs = [(f"task-{i}", "r", "t", 5_000_000 + 1_000_000 * (i % 3)) for i in range(9)]
    plan = make_plan(index_of(runs), Selection(), workers=1)
    sizes = [shard.size for shard in plan.shards]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 1
    assert [shard.number for shard in plan.shards] == list(range(len(plan.shards)))


def test_a_hot_task_is_split_so_that_no_worker_is_idle() -> None:
    runs = [("hot", str(i), "t", 100) for i in range(10 * SHARD_RUNS)] + [("cold", "r", "t", 100)]
    plan = make_plan(index_of(runs), Selection(), workers=2)
    works = Counter(shard.work for shard in plan.shards)
    assert works == {Work.SNAPSHOT: 1, Work.MANIFEST: 10, Work.PAIR: 1}
    assert plan.shards[0].work is Work.SNAPSHOT, "the longest piece of work starts first"


def test_a_hot_task_stays_whole_where_each_run_is_a_commit() -> None:
    runs = [("hot", str(i), "t", 100) for i in range(10 * SHARD_RUNS)]
    plan = make_plan(index_of(runs), Selection(), workers=2, split_tasks=False)
    assert [shard.work for shard in plan.shards] == [Work.PAIR]


def test_a_shard_is_bounded_in_runs_bytes_and_tasks() -> None:
    tiny = make_plan(
        index_of([(f"t{i}", "r", "t", 1) for i in range(2 * SHARD_TASKS)]), Selection(), workers=1
    )
    assert [shard.stop - shard.start for shard in tiny.shards] == [SHARD_TASKS] * 2
    runs = [(f"t{i // 10}", str(i), "t", 1) for i in range(3 * SHARD_RUNS)]
    many = make_plan(index_of(runs), Selection(), workers=1)
    assert [shard.stop - shard.start for shard in many.shards] == [SHARD_RUNS] * 3
    large = make_plan(
        index_of([(f"t{i}", "r", "t", SHARD_BYTES // 2) for i in range(4)]), Selection(), workers=1
    )
    assert [shard.size for shard in large.shards] == [SHARD_BYTES] * 2


def test_few_runs_still_reach_every_worker() -> None:
    runs = [(f"task-{i}", "r", "t", 100) for i in range(8)]
    assert len(make_plan(index_of(runs), Selection(), workers=2).shards) == 8


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), [1, 2, 3, 4]),
        (Selection(tasks=("al*",)), [1, 4]),
        (Selection(tasks=("al*", "beta")), [1, 2, 4]),
        (Selection(tasks=("none",)), []),
        (Selection(since="2026-01-02"), [2, 3, 4]),
        (Selection(until="2026-01-02"), [1, 2]),
        (Selection(since="2026-01-02", until="2026-01-02"), [2]),
        (Selection(limit=3), [1, 2, 3]),
        (Selection(tasks=("al*",), limit=1), [1]),
    ],
)
def test_selection(selection: Selection, expected: list[int]) -> None:
    runs = [
        ("alpha", "1", "2026-01-01T10:00:00.000Z", 9),
        ("beta", "2", "2026-01-02T10:00:00.000Z", 9),
        ("gamma", "3", "2026-01-03T10:00:00.000Z", 9),
        ("alpha", "4", "2026-01-04T10:00:00.000Z", 9),
    ]
    plan = make_plan(index_of(runs), selection, workers=1)
    assert sorted(lines(plan)) == expected
    assert plan.filtered == 4 - len(expected)
    assert plan.tasks == len({runs[line - 1][0] for line in expected})
    assert plan.size == 9 * len(expected)


def test_patterns_are_case_sensitive() -> None:
    plan = make_plan(index_of([("Alpha", "1", "t", 9)]), Selection(tasks=("alpha",)), workers=1)
    assert plan.selected == 0
