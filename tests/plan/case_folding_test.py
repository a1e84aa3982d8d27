"""Ids that a file system which folds case would confuse: one of them is persisted, the others are told."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from support.engine import run, write_source

from batchpersist.batch.dry_run import preview_batch
from batchpersist.batch.run import run_batch
from batchpersist.events import Event, RunFailed
from batchpersist.metrics.batch_report import BatchReport
from batchpersist.options import BatchOptions
from batchpersist.paths import Layout
from batchpersist.plan import id_collisions
from batchpersist.plan.id_collisions import IdCheck, folds_case


@pytest.fixture
def folding(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if both roots were on a file system that folds case."""
    monkeypatch.setattr(id_collisions, "folds_case", lambda _path: True)


def test_a_root_folds_case_where_other_letters_find_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "Name"
    assert not folds_case(str(path))
    path.touch()
    assert folds_case(str(path)) is (tmp_path / "nAME").exists()
    if not (tmp_path / "nAME").exists():
        os.link(path, tmp_path / "nAME")
        assert folds_case(str(path))
        (tmp_path / "nAME").unlink()
        (tmp_path / "nAME").touch()
    assert not folds_case(str(path))
    (tmp_path / "123").touch()
    assert not folds_case(str(tmp_path / "123"))


def refused(folder: Path, ids: list[tuple[str, str]], *standing: str) -> dict[tuple[str, str], str]:
    """Of tasks and runs in this order: which ids are refused, and what each would be confused with."""
    layout = Layout(str(folder / "out"), str(folder / "runs"))
    for path in standing:
        (folder / path).mkdir(parents=True, exist_ok=True)
    runs = [run(task, 1, runId=number) for task, number in ids]
    rows, rejects = IdCheck(layout).split(write_source(folder / "s.jsonl", runs))
    assert rows.num_rows + len(rejects) == len(ids)
    assert [task_id for task_id, _ in rejects] == [ids[reject.line - 1][0] for _, reject in rejects]
    return {ids[reject.line - 1]: reject.failure.detail for _, reject in rejects}


def test_nothing_is_refused_where_case_counts(tmp_path: Path) -> None:
    assert refused(tmp_path, [("a", "r"), ("A", "r"), ("a", "R")], "runs/.batchpersist") == {}


@pytest.mark.usefixtures("folding")
def test_the_first_of_several_is_kept(tmp_path: Path) -> None:
    ids = [("Task", "r"), ("task", "s"), ("Task", "R"), ("Task", "t"), ("other", "R"), ("TASK", "u")]
    assert refused(tmp_path, ids) == {
        ("task", "s"): "'Task'",
        ("Task", "R"): "'r'",
        ("TASK", "u"): "'Task'",
    }


@pytest.mark.usefixtures("folding")
def test_what_has_its_folder_already_is_kept(tmp_path: Path) -> None:
    ids = [("Task", "r"), ("task", "r"), ("new", "R"), ("only-out", "r")]
    standing = ("runs/task/r", "runs/new/r", "out/Only-Out")
    assert refused(tmp_path, ids, *standing) == {
        ("Task", "r"): "'task'",
        ("new", "R"): "'r'",
        ("only-out", "r"): "'Only-Out'",
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [("straße", "STRASSE"), ("é", unicodedata.normalize("NFD", "É")), ("ﬁ", "FI"), ("ς", "Σ")],
)
@pytest.mark.usefixtures("folding")
def test_letters_outside_of_ascii(tmp_path: Path, one: str, other: str) -> None:
    assert refused(tmp_path, [(one, "r"), (other, "r"), ("e", "r")]) == {(other, "r"): ascii(one)}


def test_macos_takes_the_forms_of_a_letter_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    composed, apart = "é", unicodedata.normalize("NFD", "é")
    ids = [(composed, "r"), (apart, "r"), (composed, apart), (composed, composed), ("A", "r"), ("a", "r")]
    assert refused(tmp_path, ids) == {}
    monkeypatch.setattr("sys.platform", "darwin")
    assert refused(tmp_path, ids) == {
        (apart, "r"): ascii(composed),
        (composed, composed): ascii(apart),
    }


def batch(folder: Path, *ids: tuple[str, str], **more: Any) -> tuple[BatchReport, list[Event]]:
    source, seen = folder / "runs.jsonl", list[Event]()
    source.write_text("".join(json.dumps(run(task, 1, runId=number)) + "\n" for task, number in ids))
    options = BatchOptions(out_dir=str(folder / "out"), runs_dir=str(folder / "runs"), **more)
    report = run_batch([str(source)], options, on_event=seen.append)
    preview = preview_batch([str(source)], options)
    assert preview.invalid == report.metrics.counts.invalid
    return report, seen


@pytest.mark.usefixtures("folding")
def test_a_batch_refuses_and_reports_the_second(tmp_path: Path) -> None:
    for _ in range(2):  # the second time the source is cached
        report, seen = batch(tmp_path, ("Task", "r"), ("task", "r"), ("Task", "R"))
        assert report.exit_code == 3
        counts = report.metrics.counts
        assert (counts.discovered, counts.selected, counts.invalid, counts.filtered) == (
            3,
            1,
            2,
            0,
        )
        told = [event for event in seen if isinstance(event, RunFailed)]
        assert [(event.stage, event.line) for event in told] == [("input", 2), ("input", 3)]
        assert told[0].failure.message == (
            "task id differs from another only in what the file system does not keep apart: "
            "case, or Unicode's form"
        )
    assert os.listdir(tmp_path / "runs/Task") == ["r"]
    assert not (tmp_path / "runs/task").exists()
    assert not (tmp_path / "out/task").exists()
    report, _ = batch(tmp_path, ("task", "r"), ("Task", "r"))
    assert (report.metrics.counts.unchanged, report.metrics.counts.invalid) == (1, 1)
