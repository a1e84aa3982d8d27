"""The slow model of the contract (``support/model.py``), by itself and compared with whole batches."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine import tree
from support.javascript import JavaScript, needs_node
from support.model import NoSnapshotError, Run, persist, read_snapshot, record, stringify

from batchpersist.batch.run import run_batch
from batchpersist.models import Durability
from batchpersist.options import BatchOptions


def make_run(run_id: str, timestamp: str, **more: Any) -> Run:
    return {"taskId": "task", "runId": run_id, "timestamp": timestamp, **more}


def ids_after(*pairs: tuple[str, str]) -> str:
    snapshot = None
    for run_id, timestamp in pairs:
        snapshot = record(snapshot, make_run(run_id, timestamp), "task")
    assert snapshot is not None
    assert snapshot["lastRunAt"] == snapshot["runs"][-1]["timestamp"]
    return "".join(run["runId"] for run in snapshot["runs"])


def test_later_or_equal_run_is_appended() -> None:
    assert ids_after(("a", "1"), ("b", "1"), ("c", "2")) == "abc"


def test_earlier_run_follows_all_of_its_timestamp() -> None:
    assert ids_after(("a", "1"), ("b", "1"), ("c", "3"), ("d", "1"), ("e", "0")) == "eabdc"


def test_replaced_run_is_sorted_from_its_old_position() -> None:
    assert ids_after(("a", "1"), ("b", "2"), ("c", "3"), ("a", "2")) == "abc"
    assert ids_after(("a", "1"), ("b", "2"), ("c", "3"), ("c", "1")) == "acb"
    assert ids_after(("a", "1"), ("b", "1"), ("a", "1")) == "ab"


def test_unsorted_history_is_sorted_by_a_replacement_only() -> None:
    runs = [make_run("a", "5"), make_run("b", "1"), make_run("c", "3")]
    snapshot = {"taskId": "task", "lastRunAt": "3", "runs": runs}
    inserted = record(snapshot, make_run("d", "2"), "task")
    assert [run["runId"] for run in inserted["runs"]] == ["a", "b", "d", "c"]
    replaced = record(snapshot, make_run("c", "3"), "task")
    assert [run["runId"] for run in replaced["runs"]] == ["b", "c", "a"]


def test_timestamps_compare_by_collation() -> None:
    assert ids_after(("a", "A"), ("b", "a"), ("c", "B"), ("d", "b"), ("e", "Aa")) == "baedc"
    assert ids_after(("a", "00:00:00+00:00"), ("b", "00:00:00.5+00:00"), ("c", "00:00:00Z")) == "bac"


def test_invalid_snapshot_is_an_error_and_invalid_legacy_state_is_ignored(tmp_path: Path) -> None:
    for text in ("", "[]", '{"taskId": "other", "runs": []}', '{"taskId": "task", "runs": {}}'):
        (tmp_path / "state.json").write_text(text)
        assert read_snapshot(tmp_path, "task") is None
        (tmp_path / "runs.json").write_text(text)
        with pytest.raises(NoSnapshotError):
            read_snapshot(tmp_path, "task")
        (tmp_path / "runs.json").unlink()


TEXTS = [
    "",
    "plain",
    'a"\\/\b\f\n\r\t',
    "\0\x01\x1f\x7f\x80",
    "é\u2028\u2029\U0001f600",
    "\ud800",
    "\udfffx\ud83d",
]
VALUES = [
    *TEXTS,
    None,
    True,
    False,
    0,
    -1,
    2**53 - 1,
    0.5,
    -2.25,
    1.0,
    -0.0,
    1e-7,
    1e21,
    5e-324,
    123456789.0625,
    [],
    {},
    [[], {}],
    {"": {"a": [1, {"b": "c"}]}},
    {"b": 0, "10": 1, "9": 2, "01": 3},
]


@needs_node
def test_text_equals_that_of_javascript() -> None:
    value = [*VALUES, {text: text for text in TEXTS}]
    with JavaScript("(value) => JSON.stringify(value, null, 2)") as text_of:
        assert stringify(value) == text_of(value)


def trees(root: Path) -> dict[str, bytes]:
    """The files of both roots that the orchestrator knows."""
    return {name: data for name, data in tree(root).items() if name != "out/metrics.json"}


RUNS = st.fixed_dictionaries(
    {
        "taskId": st.sampled_from(["task", "other"]),
        "runId": st.sampled_from("abcdef"),
        "timestamp": st.sampled_from(["1", "2", "3", "a", "A", "\uff5e", "\U0001f600"]),
    },
    optional={
        "note": st.text(max_size=3) | st.integers(0, 3) | st.lists(st.booleans(), max_size=2),
        "10": st.floats(allow_nan=False, allow_infinity=False) | st.integers(2**53, 2**70),
        "2": st.just({"b": 1, "1": 0}),
    },
)
BATCHES = st.lists(st.lists(RUNS, min_size=1, max_size=15), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(
    batches=BATCHES,
    commit=st.sampled_from(["task", "run"]),
    pair=st.sampled_from(["concurrent", "sequential"]),
)
def test_batch_writes_what_single_runs_would_write(batches: list[list[Run]], commit: Any, pair: Any) -> None:
    with TemporaryDirectory() as folder:
        root, source = Path(folder), Path(folder, "source.jsonl")
        roots = {"out_dir": str(root / "batch" / "out"), "runs_dir": str(root / "batch" / "runs")}
        options = BatchOptions(**roots, commit=commit, pair=pair, durability=Durability.NONE)
        for runs in batches:
            source.write_text("".join(json.dumps(run) + "\n" for run in runs))
            report = run_batch([str(source)], options)
            assert report.exit_code == 0
            persist(runs, root / "model" / "out", root / "model" / "runs")
            assert trees(root / "batch") == trees(root / "model")
