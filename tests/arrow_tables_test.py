"""Tables have exactly the columns that ``arrow_tables`` declares, whatever they contain."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import engine
from support.engine import Run
from support.outcomes import Row, plan_rows
from support.reports import failing_rows, leave_batch
from support.scans import lines, put, run, run_scan_tasks

from batchpersist.arrow_tables import (
    KEY_GLUE,
    index_schema,
    outcome_schema,
    plan_schema,
    reject_schema,
    run_schema,
    shard_schema,
    with_columns,
)
from batchpersist.batch.resume import JournaledRuns
from batchpersist.batch.run import run_batch
from batchpersist.cache.outputs import with_fingerprints
from batchpersist.index.builder import IndexBuilder
from batchpersist.metrics.outcome_table import OutcomeBuilder, read_outcomes
from batchpersist.models import DEFAULT_KEYS, Failure, Reject
from batchpersist.options import BatchOptions
from batchpersist.records.batch_folder import BatchFolder
from batchpersist.sources.discovery import discover
from batchpersist.sources.scan_tasks import ScanTask

FAILURE = Failure("WorkerDiedError", "worker died", "")
REJECT = Reject("a.jsonl", 3, Failure("InvalidRunError", "not JSON", "byte 3"))
FORMS = {"full": (failing_rows(), [REJECT]), "empty": ([], [])}


@pytest.mark.parametrize("data", [b"", lines(run("a"), run("b"))])
def test_an_index_has_the_columns_of_its_schema(tmp_path: Path, data: bytes) -> None:
    scan_tasks = list(discover([str(put(tmp_path / "in" / "a.jsonl", data))]))
    scanned = index_of(IndexBuilder(), tmp_path, scan_tasks)
    assert scanned.schema.equals(index_schema())
    builder = IndexBuilder(known=scanned.select(run_schema().names))
    builder.add_known(0, scanned.num_rows)
    both = index_of(builder, tmp_path, scan_tasks)
    assert both.schema.equals(index_schema())
    assert both["known"].null_count == scanned.num_rows == both.num_rows / 2


def index_of(builder: IndexBuilder, spool: Path, scan_tasks: list[ScanTask]) -> pa.Table:
    for scanned in run_scan_tasks(scan_tasks, DEFAULT_KEYS, str(spool)):
        builder.add(scanned)
    return builder.take_table()


@pytest.mark.parametrize("runs", [[], [engine.run("t", 1), engine.run("t", 2)]])
def test_a_plan_has_the_columns_of_its_schema_with_any_knowledge(tmp_path: Path, runs: list[Run]) -> None:
    rows = engine.plan_of(tmp_path / "a.jsonl", runs).rows
    assert rows.schema.equals(plan_schema())
    before = JournaledRuns({}, {KEY_GLUE.join(("t", "run-1", runs[0]["timestamp"])): FAILURE} if runs else {})
    marked = before.mark_quarantined(rows)
    assert marked.schema.equals(plan_schema())
    assert marked["quarantined"].to_pylist() == [True, False][: len(runs)]
    numbers = pa.array(range(len(runs)), pa.int32())
    prints = pa.array([bytes([row] * 16) for row in range(len(runs))], pa.binary(16))
    known = with_fingerprints(
        with_columns(marked, {"known": numbers}),
        pa.table({"manifest_fingerprint": prints, "snapshot_fingerprint": prints}),
    )
    assert known.schema.equals(plan_schema())
    assert known["snapshot_fingerprint"].to_pylist() == prints.to_pylist()


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
