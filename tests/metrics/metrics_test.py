from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from importlib import resources
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from support.outcomes import (
    FAILED_SIDES,
    Row,
    batches,
    expected_rows,
    make_outcome,
    plan_rows,
    sixty_examples,
)
from support.schema_fields import fields_of

from batchpersist.errors import TotalsError
from batchpersist.metrics import build
from batchpersist.metrics.build import BatchInfo, Phases, build_metrics, percentiles, stable
from batchpersist.metrics.outcome_table import OutcomeBuilder
from batchpersist.metrics.schema import Counts, Percentiles, metrics_text
from batchpersist.models import Failure, Reject, ScanTotals, Shard, Side, Work
from batchpersist.storage.result_files import write_output

SCHEMA = json.loads((resources.files("batchpersist") / "metrics.schema.json").read_text())
PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
INFO = BatchInfo(
    batch_id="20260131-040506-abc",
    started_at=datetime(2026, 1, 31, 5, 5, 6, 789_999, timezone(timedelta(hours=1))),
    finished_at=datetime(2026, 1, 31, 4, 5, 9, tzinfo=timezone.utc),
    version="1.2.3",
    config={"workers": 2, "since": None},
)
PHASES = Phases(wall=2.0, scan=0.5, plan=0.25, settle=1.25, worker_seconds=2.25, pool_start=0.125)
REJECTS = [
    Reject("a.jsonl", 3, Failure("InvalidRunError", "not JSON", "byte 3")),
    Reject("b.jsonl", 1, Failure("UnsafeIdentifierError", "runId: empty", "")),
    Reject("b.jsonl", 9, Failure("InvalidRunError", "not JSON", "byte 9")),
]


def metrics_of(rows, shards, *, rejects=(), filtered=0, discovered=None, info=INFO):
    builder = OutcomeBuilder(plan_rows(rows))
    for shard in shards:
        builder.add(make_outcome(rows, shard))
    found = len(rows) + len(rejects) + filtered
    scan = ScanTotals(
        discovered=found if discovered is None else discovered,
        other_events=4,
        other_manifests=5,
        ignored_files=6,
        incomplete=7,
        bytes_read=7000,
    )
    table, totals = builder.table(), builder.totals
    metrics = build_metrics(
        info, PHASES, scan=scan, rejects=rejects, filtered=filtered, table=table, totals=totals
    )
    return msgspec.to_builtins(metrics)


def one_shard(rows):
    return [Shard(0, Work.PAIR, 0, len(rows), 1)]


# The whole document


@sixty_examples
@given(batches(), st.sampled_from([[], REJECTS]))
def test_metrics_match_their_schema(batch, rejects):
    metrics = metrics_of(*batch, rejects=rejects, filtered=2)
    Draft202012Validator(SCHEMA).validate(metrics)
    assert list(metrics) == SCHEMA["$defs"]["Metrics"]["required"]


def test_schema_is_valid_and_refuses_unknown_fields():
    Draft202012Validator.check_schema(SCHEMA)
    metrics = metrics_of([Row("t", "a")], [], rejects=REJECTS)
    for part in (metrics, metrics["counts"], metrics["timing"], metrics["tasks"][0], metrics["errors"][0]):
        part["surprise"] = 1
        assert not Draft202012Validator(SCHEMA).is_valid(metrics)
        del part["surprise"]
    assert Draft202012Validator(SCHEMA).is_valid(metrics)


def test_metrics_have_the_facts_of_the_batch():
    metrics = metrics_of([Row("t", "a")], [], info=replace(INFO, state="interrupted"))
    assert metrics["batch_id"] == "20260131-040506-abc"
    assert metrics["started_at"] == "2026-01-31T04:05:06.789Z"
    assert metrics["finished_at"] == "2026-01-31T04:05:09.000Z"
    assert metrics["version"] == "1.2.3"
    assert (metrics["state"], metrics["interrupted"]) == ("interrupted", True)
    assert metrics["config"] == {"workers": 2, "since": None}
    passed_over = {"other_events": 4, "other_manifests": 5, "ignored_files": 6, "incomplete": 7}
    assert metrics["passed_over"] == passed_over


def test_bytes_add_up_to_those_written():
    rows = [
        Row("t", "a", manifest_bytes=10),
        Row("t", "b", manifest_bytes=20),
        Row("u", "c", manifest_bytes=0),
    ]
    assert metrics_of(rows, one_shard(rows))["bytes"] == {"read": 7000, "snapshots": 2000, "manifests": 30}
    assert metrics_of(rows, [])["bytes"] == {"read": 7000, "snapshots": 0, "manifests": 0}


# Counts


@sixty_examples
@given(batches())
def test_counts_equal_a_count_row_by_row(batch):
    rows = expected_rows(*batch)
    counts = metrics_of(*batch, rejects=REJECTS, filtered=2)["counts"]
    attempted = [row for row in rows if row.status in ("persisted", "unchanged", "failed")]
    pairs = Counter((row.snapshot in FAILED_SIDES, row.manifest in FAILED_SIDES) for row in attempted)
    statuses = Counter(row.status for row in rows)
    assert counts == {
        "discovered": len(rows) + 5,
        "invalid": 3,
        "filtered": 2,
        "other_shards": 0,
        "superseded": statuses["superseded"],
        "selected": len(rows) - statuses["superseded"],
        "persisted": statuses["persisted"],
        "unchanged": statuses["unchanged"],
        "failed": statuses["failed"],
        "not_attempted": statuses["not_attempted"],
        "both_ok": pairs[False, False],
        "snapshot_failed": pairs[True, False],
        "manifest_failed": pairs[False, True],
        "both_failed": pairs[True, True],
        "snapshot_locked": sum(row.snapshot is Side.LOCKED for row in attempted),
        "resumed": 0,
    }


def test_counts_that_do_not_add_up_are_refused():
    terms = r"invalid 0 \+ filtered 0 \+ other_shards 0 \+ superseded 0 \+ selected 1"
    with pytest.raises(TotalsError, match=rf"discovered 9 is not {terms}"):
        metrics_of([Row("t", "a")], [], discovered=9)


BALANCED = Counts(
    discovered=20,
    invalid=1,
    filtered=2,
    other_shards=0,
    superseded=1,
    selected=16,
    persisted=4,
    unchanged=3,
    failed=6,
    not_attempted=3,
    both_ok=7,
    snapshot_failed=3,
    manifest_failed=2,
    both_failed=1,
    snapshot_locked=4,
    resumed=7,
)


def test_counts_that_add_up_pass():
    BALANCED.check()
    assert BALANCED.attempted == 13


@pytest.mark.parametrize("name", Counts.__struct_fields__)
def test_each_count_that_is_off_by_one_is_detected(name):
    wrong = msgspec.structs.replace(BALANCED, **{name: getattr(BALANCED, name) + 1})
    with pytest.raises(TotalsError, match=rf"\b{name} {getattr(wrong, name)}\b"):
        wrong.check()


# Tasks


@sixty_examples
@given(batches())
def test_tasks_equal_a_count_row_by_row(batch):
    rows, shards = batch
    found = expected_rows(rows, shards)
    expected = []
    for task_id in sorted({row.task_id for row in rows}):
        statuses = Counter(row.status for row in found if row.task_id == task_id)
        entry = {
            name: statuses[name]
            for name in ("persisted", "unchanged", "failed", "not_attempted", "superseded")
        }
        runs = statuses.total() - statuses["superseded"]
        expected.append({"task_id": task_id, "runs": runs, **entry})
    metrics = metrics_of(rows, shards)
    assert stable(metrics["tasks"]) == expected
    assert metrics["tasks_omitted"] == 0


def test_task_has_the_seconds_of_its_commits():
    rows = [Row("t", "a", snapshot_seconds=0.1234567), Row("u", "b")]
    tasks = metrics_of(rows, [Shard(0, Work.PAIR, 0, 1, 1)])["tasks"]
    assert [task["timing"] for task in tasks] == [{"commit_seconds": 0.123457}, {"commit_seconds": None}]


def test_of_too_many_tasks_failed_and_largest_are_listed(monkeypatch):
    monkeypatch.setattr(build, "MAX_TASKS", 3)
    sizes = {"a": 1, "b": 3, "c": 2, "d": 3, "e": 1}
    rows = [Row(task, f"{task}{number}") for task, size in sizes.items() for number in range(size)]
    rows[-1] = replace(rows[-1], manifest=Side.FAILED, manifest_failure=Failure("OSError", "[EIO]", ""))
    metrics = metrics_of(rows, one_shard(rows))
    assert [task["task_id"] for task in metrics["tasks"]] == ["b", "d", "e"]
    assert metrics["tasks_omitted"] == 2


# Errors


@sixty_examples
@given(batches())
def test_errors_equal_a_grouping_row_by_row(batch):
    rows, shards = batch
    found: dict[tuple[str, str, str], list[dict[str, object]]] = {}
    for reject in REJECTS:
        place = {"source": reject.source, "line": reject.line, "task_id": None, "run_id": None}
        key = ("input", reject.failure.type, reject.failure.message)
        found.setdefault(key, []).append({**place, "detail": reject.failure.detail})
    for stage in ("snapshot", "manifest"):
        for row in expected_rows(rows, shards):
            failure = getattr(row, f"{stage}_failure")
            if failure and not row.superseded:
                place = {name: getattr(row, name) for name in ("source", "line", "task_id", "run_id")}
                found.setdefault((stage, failure.type, failure.message), []).append(
                    {**place, "detail": failure.detail}
                )
    order = sorted(found, key=lambda key: (-len(found[key]), key[1], key[2], key[0]))
    metrics = metrics_of(rows, shards, rejects=REJECTS)
    assert metrics["errors"] == [
        dict(
            zip(("stage", "type", "message"), key, strict=True), count=len(found[key]), samples=found[key][:5]
        )
        for key in order
    ]
    assert metrics["errors_omitted"] == 0


def test_a_group_of_errors_shows_its_first_five():
    rejects = [Reject("s", line, Failure("InvalidRunError", "not JSON", "")) for line in range(1, 8)]
    error = metrics_of([], [], rejects=rejects)["errors"][0]
    assert error["count"] == 7
    assert [sample["line"] for sample in error["samples"]] == [1, 2, 3, 4, 5]


def test_groups_of_equal_count_are_sorted_by_type_message_and_stage():
    row = Row("t", "a", snapshot=Side.FAILED, manifest=Side.FAILED)
    rows = [
        replace(row, snapshot_failure=Failure("B", "a", ""), manifest_failure=Failure("A", "z", "")),
        replace(row, snapshot_failure=Failure("A", "z", ""), manifest_failure=Failure("A", "y", "")),
    ]
    errors = metrics_of(rows, one_shard(rows))["errors"]
    order = [(error["type"], error["message"], error["stage"]) for error in errors]
    assert order == [
        ("A", "y", "manifest"),
        ("A", "z", "manifest"),
        ("A", "z", "snapshot"),
        ("B", "a", "snapshot"),
    ]


def test_too_many_kinds_of_errors_leave_the_most_frequent(monkeypatch):
    monkeypatch.setattr(build, "MAX_ERRORS", 2)
    names = ["b", "d", "a", "c", "d"]
    rejects = [Reject("s", line, Failure("InvalidRunError", name, "")) for line, name in enumerate(names, 1)]
    metrics = metrics_of([], [], rejects=rejects)
    assert [(error["message"], error["count"]) for error in metrics["errors"]] == [("d", 2), ("a", 1)]
    assert metrics["errors_omitted"] == 2


def test_a_source_whose_name_is_no_utf8_is_shown_with_escapes():
    metrics = metrics_of(
        [], [], rejects=[Reject("\udcff.json", 1, Failure("InvalidRunError", "not JSON", "\udcfe"))]
    )
    sample = metrics["errors"][0]["samples"][0]
    assert (sample["source"], sample["detail"]) == ("\\xff.json", "\\xfe")


# Timing


def test_timing_has_phases_and_the_gain_of_concurrency():
    rows = [Row("t", "a"), Row("t", "b"), Row("u", "c"), Row("u", "d", superseded=True)]
    timing = metrics_of(rows, [Shard(0, Work.PAIR, 0, 2, 1), Shard(1, Work.PAIR, 2, 4, 1)])["timing"]
    assert timing["wall_seconds"] == 2.0
    assert (timing["scan"], timing["plan"], timing["settle"]) == (0.5, 0.25, 1.25)
    assert timing["runs_per_second"] == 1.5
    assert (timing["pair_seconds"], timing["sum_if_sequential"]) == (2.0, 3.0)
    assert timing["snapshot"] == {"p50": 0.25, "p90": 0.25, "p99": 0.25, "max": 0.25}
    assert timing["manifest"]["max"] == 0.5
    assert timing["pair"]["max"] == 0.75


def test_timing_has_the_phases_of_the_workers():
    rows = [Row("t", "a"), Row("u", "b")]
    metrics = metrics_of(rows, [Shard(0, Work.PAIR, 0, 1, 1), Shard(1, Work.PAIR, 1, 2, 1)])
    spent = dict.fromkeys(("read", "parse", "lock_wait", "snapshot", "manifest", "other"), 0.0)
    assert metrics["timing"]["phases"] == spent | {"sync": 0.5, "pool": 0.75}
    assert metrics["timing"]["syncs"] == 6
    assert metrics["timing"]["pool_start"] == 0.125


def test_timing_of_nothing_is_null():
    timing = metrics_of([Row("t", "a")], [])["timing"]
    assert timing["runs_per_second"] == 0
    assert set(timing["pair"].values()) == {None}


@sixty_examples
@given(batches())
def test_percentiles_are_over_attempted_runs(batch):
    attempted = [row for row in expected_rows(*batch) if row.status in ("persisted", "unchanged", "failed")]
    timing = metrics_of(*batch)["timing"]
    for side in ("snapshot", "manifest"):
        settled = [row for row in attempted if getattr(row, side) is not Side.NOT_ATTEMPTED]
        longest = max((getattr(row, f"{side}_seconds") for row in settled), default=None)
        assert timing[side]["max"] == longest
    assert timing["pair"]["max"] == max((row.pair_seconds for row in attempted), default=None)


@sixty_examples
@given(st.lists(st.integers(0, 10_000).map(lambda number: number / 1000), min_size=1, max_size=300))
def test_a_percentile_is_the_shortest_time_at_its_place_or_beyond(values):
    ordered = sorted(values)
    found = percentiles(pa.chunked_array([values, [None]], pa.float64()))
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert getattr(found, name) == ordered[math.ceil((len(values) - 1) * share)]
        assert sum(value <= getattr(found, name) for value in values) >= share * len(values)
    assert found.max == ordered[-1]


def test_percentiles_of_a_thousand():
    found = percentiles(pa.chunked_array([[float(value) for value in range(1001)]]))
    assert found == Percentiles(p50=500.0, p90=900.0, p99=990.0, max=1000.0)


# What varies from run to run


@sixty_examples
@given(batches(), st.randoms(use_true_random=False))
def test_the_order_of_completion_shows_nowhere_but_in_timing(batch, random):
    rows, shards = batch
    shuffled = random.sample(shards, len(shards))
    slower = [replace(row, snapshot_seconds=9.0, manifest_seconds=9.0, pair_seconds=9.0) for row in rows]
    later = replace(INFO, batch_id="other", started_at=INFO.finished_at)
    first = stable(metrics_of(rows, shards, rejects=REJECTS))
    second = stable(metrics_of(slower, shuffled, rejects=REJECTS, info=later))
    assert json.dumps(first) == json.dumps(second)


def test_stable_removes_only_varying_fields():
    varying = {"timing": 1, "batch_id": 2, "started_at": 3}
    kept = {"counts": {"selected": 1}, "timings": 2, "task_id": "t", "at": 4}
    nested = {**kept, **varying, "tasks": [{**kept, **varying}]}
    assert stable(nested) == {**kept, "tasks": [kept]}
    assert "timing" in nested


# The file


def test_the_file_is_the_document_in_the_text_of_the_formats(tmp_path):
    metrics = metrics_of([Row("größe", "a")], [])
    path = tmp_path / "new" / "metrics.json"
    write_output(str(path), (metrics_text(metrics),))
    text = path.read_text(encoding="utf-8")
    assert text.startswith('{\n  "schema_version": 1,\n  "batch_id": "20260131-040506-abc",\n')
    assert text.endswith("}\n")
    assert "größe" in text
    assert json.loads(text) == metrics
    assert [entry.name for entry in path.parent.iterdir()] == ["metrics.json"]


# The page


def test_every_field_has_a_description():
    parts = [field for part in SCHEMA["$defs"].values() for field in part["properties"].items()]
    assert [name for name, field in parts if not field.get("description")] == []


def test_the_page_names_fields_that_there_are_and_every_column_of_the_table():
    fields = fields_of(SCHEMA)
    document, _, table = PAGE.partition("## The outcome table")
    sections = ("counts", "passed_over", "bytes", "timing", "errors", "tasks")
    named = set(re.findall(rf"`((?:{'|'.join(sections)})(?:\[\])?\.[\w.\[\]]+)`", document))
    assert named - fields == set()
    columns = {
        name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall("`(.+?)`", row)
    }
    assert columns == set(OutcomeBuilder(plan_rows([])).table().column_names)
