from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from support.outcomes import Row, batches, expected_rows, make_outcome, plan_rows, sixty_examples

from batchpersist.metrics.batch_report import write_table
from batchpersist.metrics.outcome_table import OutcomeBuilder, Status, status_of
from batchpersist.models import Durability, Failure, Shard, Side, Work

THREE = [Row("t", "a"), Row("t", "b"), Row("u", "c")]


def build(rows, shards):
    builder = OutcomeBuilder(plan_rows(rows))
    for shard in shards:
        builder.add(make_outcome(rows, shard))
    return builder.table()


@sixty_examples
@given(batches())
def test_each_row_has_the_outcome_of_its_shards(batch):
    rows, shards = batch
    assert build(rows, shards).to_pylist() == [row.as_columns() for row in expected_rows(rows, shards)]


def test_rows_of_no_shard_were_not_attempted():
    table = build(THREE, [Shard(0, Work.PAIR, 1, 2, 1)])
    assert table["status"].to_pylist() == ["not_attempted", "persisted", "not_attempted"]


def test_the_columns_have_the_same_types_whatever_is_in_them():
    empty = build([], [])
    full = build([replace(THREE[0], snapshot=Side.FAILED, snapshot_failure=Failure("E", "m", "d"))], [])
    assert empty.schema == full.schema
    assert str(empty.schema.field("status").type) == "dictionary<values=string, indices=int8, ordered=0>"


@pytest.mark.parametrize(
    ("snapshot", "manifest", "status"),
    [
        (Side.PERSISTED, Side.PERSISTED, Status.PERSISTED),
        (Side.PERSISTED, Side.UNCHANGED, Status.PERSISTED),
        (Side.UNCHANGED, Side.PERSISTED, Status.PERSISTED),
        (Side.UNCHANGED, Side.UNCHANGED, Status.UNCHANGED),
        (Side.LOCKED, Side.PERSISTED, Status.FAILED),
        (Side.UNCHANGED, Side.FAILED, Status.FAILED),
        (Side.FAILED, Side.NOT_ATTEMPTED, Status.FAILED),
        (Side.NOT_ATTEMPTED, Side.PERSISTED, Status.NOT_ATTEMPTED),
        (Side.UNCHANGED, Side.NOT_ATTEMPTED, Status.NOT_ATTEMPTED),
    ],
)
def test_status_of_a_pair(snapshot, manifest, status):
    assert status_of(snapshot, manifest) is status


def test_the_pair_of_a_split_task_took_as_long_as_its_slower_side():
    rows = [Row("t", "a", pair_seconds=2.0), Row("t", "b", pair_seconds=0.5)]
    slower = [replace(row, pair_seconds=1.0) for row in rows]
    outcomes = [
        make_outcome(rows, Shard(0, Work.SNAPSHOT, 0, 2, 1)),
        make_outcome(slower, Shard(1, Work.MANIFEST, 0, 2, 1)),
    ]
    for order in (outcomes, outcomes[::-1]):
        builder = OutcomeBuilder(plan_rows(rows))
        for outcome in order:
            builder.add(outcome)
        assert builder.table()["pair_seconds"].to_pylist() == [2.0, 1.0]


def test_last_outcome_of_a_row_counts():
    failed = [replace(THREE[0], manifest=Side.FAILED, manifest_failure=Failure("OSError", "[EIO]", ""))]
    shard = Shard(0, Work.PAIR, 0, 1, 1)
    builder = OutcomeBuilder(plan_rows(failed))
    builder.add(make_outcome(failed, shard))
    builder.add(make_outcome(THREE, shard))
    row = builder.table().to_pylist()[0]
    assert row["status"] == "persisted"
    assert row["manifest_error_type"] is None


def test_seconds_of_a_task_add_up_over_commits():
    builder = OutcomeBuilder(plan_rows(THREE))
    for shard in (Shard(0, Work.PAIR, 0, 1, 1), Shard(0, Work.PAIR, 1, 3, 1)):
        builder.add(make_outcome(THREE, shard))
    assert builder.totals.commit_seconds == {"t": 0.5, "u": 0.25}
    assert builder.totals.snapshot_bytes == 3000
    assert (builder.totals.pair_seconds, builder.totals.sum_if_sequential) == (2.0, 3.0)


@pytest.mark.parametrize("stop", [2, 4])
def test_an_outcome_that_is_not_of_its_shards_length_is_refused(stop):
    rows = [*THREE, Row("u", "d")]
    outcome = make_outcome(rows, Shard(0, Work.PAIR, 0, stop, 1))
    outcome.shard = Shard(0, Work.PAIR, 0, 3, 1)
    builder = OutcomeBuilder(plan_rows(THREE))
    with pytest.raises(ValueError, match="different structures"):
        builder.add(outcome)


def test_text_that_is_no_utf8_is_shown_with_escapes():
    failure = Failure("OSError", "[EIO] error", os.fsdecode(b"/runs/\xff.json"))
    rows = [replace(THREE[0], manifest=Side.FAILED, manifest_failure=failure)]
    table = build(rows, [Shard(0, Work.PAIR, 0, 1, 1)])
    assert table["manifest_error_detail"].to_pylist() == ["/runs/\\xff.json"]


def test_the_table_is_saved_as_it_is(tmp_path: Path):
    table = build(THREE, [Shard(0, Work.PAIR, 0, 2, 1)])
    path = tmp_path / "new" / "outcomes.parquet"
    write_table(table, str(path), Durability.FILE)
    assert pq.read_table(path).to_pylist() == table.to_pylist()
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    assert [entry.name for entry in path.parent.iterdir()] == ["outcomes.parquet"]
