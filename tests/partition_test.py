"""Partitions: each task is in exactly one, and always in the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpersist.errors import UsageError
from batchpersist.partition import Partition, shards_in


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(1, 50))
def test_each_task_is_in_exactly_one_partition(task_id: str, of: int) -> None:
    assert sum(Partition(number, of).owns(task_id) for number in range(1, of + 1)) == 1


def test_partition_of_a_task_never_changes() -> None:
    """The commands of a batch may have different versions, and a later version may resume one."""
    owners = {
        task: next(n for n in range(1, 6) if Partition(n, 5).owns(task)) for task in ("a", "billing", "ü")
    }
    assert owners == {"a": 4, "billing": 2, "ü": 1}  # as `b2sum -l 64` has it


def test_partition_is_the_same_in_other_processes() -> None:
    program = "from batchpersist.partition import Partition; print(Partition(2, 3).owns('task'))"
    printed = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1")
    }
    assert printed == {f"{Partition(2, 3).owns('task')}\n".encode()}


def test_partitions_have_similar_numbers_of_tasks() -> None:
    sizes = [sum(Partition(n, 8).owns(f"task-{i}") for i in range(8000)) for n in range(1, 9)]
    assert min(sizes) > 850
    assert max(sizes) < 1150


@pytest.mark.parametrize(
    "text", ["", "3", "0/8", "9/8", "3/0", "-1/8", "1/8 ", "a/b", "1/8/2", "01/8", "1 / 8", "\u0661/\u0668"]
)
def test_invalid_partition_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="shard"):
        Partition.parse(text)


def test_partition_has_an_option_value_and_a_name() -> None:
    partition = Partition.parse("3/8")
    assert (partition.number, partition.of, str(partition), partition.name) == (3, 8, "3/8", "3-of-8")
    assert shards_in(partition.name) == 8
    assert [shards_in(name) for name in ("", "batch", "3-of-", "3-of-8.lock")] == [0, 0, 0, 0]
