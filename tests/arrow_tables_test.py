"""Tables have exactly the columns that ``columns`` declares, whatever is in them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.outcomes import Row, plan_rows
from support.reports import failing_rows, leave_batch
from support.scans import lines, put, run, scan_parts

from batchpersist.arrow_tables import index_schema, outcome_schema, reject_schema, shard_schema
from batchpersist.batch.run import run_batch
from batchpersist.index.builder import IndexBuilder
from batchpersist.metrics.outcome_table import OutcomeBuilder, read_outcomes
from batchpersist.models import DEFAULT_KEYS, Failure
from batchpersist.options import BatchOptions
from batchpersist.records.folder import BatchFolder
from batchpersist.sources.discovery import discover
from batchpersist.sources.scan_tasks import Reject

REJECT = Reject("a.jsonl", 3, Failure("InvalidRunError", "not JSON", "byte 3"))
FORMS = {"full": (failing_rows(), [REJECT]), "empty": ([], [])}


@pytest.mark.parametrize("data", [b"", lines(run("a"), run("b"))])
def test_an_index_has_the_columns_of_its_schema(tmp_path: Path, data: bytes) -> None:
    index = IndexBuilder()
    parts = discover([str(put(tmp_path / "in" / "a.jsonl", data))])
    for scanned in scan_parts(parts, DEFAULT_KEYS, str(tmp_path)):
        index.add(scanned)
    assert index.take_table().schema.equals(index_schema())


@pytest.mark.parametrize("rows", [[], [Row("t", "a")]])
def test_an_outcome_table_has_the_columns_of_its_schema(rows: list[Row]) -> None:
    assert OutcomeBuilder(plan_rows(rows)).table().schema.equals(outcome_schema())


@pytest.mark.parametrize("form", FORMS)
def test_saved_tables_have_the_columns_of_their_schemas(tmp_path: Path, form: str) -> None:
    rows, rejects = FORMS[form]
    folder = leave_batch(tmp_path, rows, rejects=rejects)
    assert pq.read_schema(folder.outcomes).names == outcome_schema().names
    assert read_outcomes(folder.outcomes).schema.equals(outcome_schema())
    assert read_outcomes(folder.outcomes, ["status", "line"]).column_names == ["status", "line"]
    assert pq.read_schema(folder.rejects).equals(reject_schema())
    assert pq.read_schema(folder.shards).equals(shard_schema())


def test_a_batch_returns_and_saves_the_same_columns(tmp_path: Path) -> None:
    source = put(tmp_path / "a.jsonl", lines(run("a"), run("b")) + b"no json\n")
    for name in ("outcomes.csv", "outcomes.parquet"):
        roots = BatchOptions(str(tmp_path / "out"), str(tmp_path / "runs"), outcomes=str(tmp_path / name))
        report = run_batch([str(source)], roots)
        assert report.outcomes.schema.equals(outcome_schema())
        assert read_outcomes(BatchFolder(report.folder).outcomes).equals(report.outcomes)
    head = (tmp_path / "outcomes.csv").read_text().splitlines()[0]
    assert head == ",".join(f'"{name}"' for name in outcome_schema().names)
    assert read_outcomes(str(tmp_path / "outcomes.parquet")).num_rows == 2
