"""Input alone: each line that is no completed run is named, as a batch would name it; nothing is written."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import asdict
from support.engine import run, tree

from batchpersist.batch.run import run_batch
from batchpersist.batch.validate import validate_sources
from batchpersist.cli.main import cli
from batchpersist.options import BatchOptions, Selection
from batchpersist.synthetic import generate


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def write(name: str, *lines: object) -> None:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    Path(name).write_text("".join(text + "\n" for text in texts))


def invoke(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["validate", *words], input=stdin, catch_exceptions=False)


def test_each_invalid_line_is_named_with_its_reason_and_the_causes_counted() -> None:
    write("a.jsonl", run("task", 1), "no json", run("task", 2), "[]", "{}")
    write("b.jsonl", "nor here", run("other", 3), run("task", 1))
    result = invoke("a.jsonl", "b.jsonl", "--progress", "none")
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert [line.split(" ")[0] for line in lines[:4]] == [
        "a.jsonl:2:",
        "a.jsonl:4:",
        "a.jsonl:5:",
        "b.jsonl:1:",
    ]
    assert lines[1].startswith("a.jsonl:4: not a JSON object: ")
    assert lines[4].startswith("2 x not valid JSON")
    assert lines[-1] == "3 runs of 2 tasks valid, 4 invalid, 1 superseded by a later line."


@pytest.mark.parametrize("workers", ["1", "2"])
def test_validation_counts_input_as_a_batch_does(folder: Path, workers: str) -> None:
    write("events.jsonl", {"type": "other", "payload": {}}, {"type": "run:completed", "payload": run("e", 1)})
    first, second = (b"".join(generate(300, 7, skew=0, invalid=0.3, seed=seed, size=300)) for seed in (0, 1))
    Path("first.jsonl").write_bytes(first)
    Path("second.jsonl.gz").write_bytes(gzip.compress(second))
    Path("notes.txt").touch()
    before = tree(folder)
    result = invoke(".", "--json", "-j", workers, "--pool-threshold", "0", "--since", "2026-01-01T00:00:01Z")
    assert tree(folder) == before
    assert not list((folder.parent / "scratch").glob("batchpersist-*"))
    events = [json.loads(line) for line in result.stdout.splitlines()]
    summary = events[-1]
    selection = Selection(since="2026-01-01T00:00:01.000Z")
    report = run_batch(["."], BatchOptions(out_dir="../o", runs_dir="../r", selection=selection))
    counts = report.metrics.counts
    for name in ("discovered", "invalid", "filtered", "superseded", "selected"):
        assert summary[name] == getattr(counts, name), name
    assert summary["passed_over"] == asdict(report.metrics.passed_over)
    assert (summary["passed_over"]["other_events"], summary["passed_over"]["ignored_files"]) == (1, 1)
    assert counts.failed == 0, "what is valid can be persisted"
    assert 0 < summary["invalid"] == len([event for event in events if event["message_type"] == "error"])
    causes = {cause["message"]: cause["count"] for cause in summary["causes"]}
    assert causes == {error.message: error.count for error in report.metrics.errors}
    assert (summary["exit_code"], report.exit_code) == (3, 3)


def test_all_valid_and_quiet() -> None:
    write("a.jsonl", run("task", 1))
    assert invoke("a.jsonl").stdout == "1 run of 1 task valid.\n"
    assert invoke("a.jsonl", "-q").output == ""
    write("a.jsonl", "no json")
    quiet = invoke("a.jsonl", "-q")
    assert (quiet.exit_code, quiet.stdout) == (3, "")
    assert quiet.stderr.startswith("a.jsonl:1: ")


def test_validate_reads_other_keys_and_standard_input() -> None:
    document = {"task": "t", "run": "r", "at": "2026-01-01"}
    result = invoke(
        "-", "--task-key", "task", "--run-key", "run", "--time-key", "at", stdin=json.dumps(document)
    )
    assert (result.exit_code, result.stdout) == (0, "1 run of 1 task valid.\n")
    assert invoke("-", stdin=json.dumps(document)).stdout.startswith("<stdin>:1: `taskId` is missing")


def test_a_missing_source_and_wrong_usage() -> None:
    assert invoke("absent.jsonl").exit_code == 10
    write("a.txt")
    assert invoke("a.txt").exit_code == 2
    assert invoke("a.txt", "--out-dir", "x").exit_code == 2


def test_a_name_cannot_steer_the_terminal() -> None:
    write("a\x1b[31m.jsonl", "no json")
    result = invoke(".")
    assert "\x1b" not in result.stdout
    assert r"a\x1b[31m.jsonl:1: " in result.stdout


def test_stopped_while_it_reads() -> None:
    write("a.jsonl", run("task", 1))
    found = validate_sources(["a.jsonl"], should_stop=lambda: True)
    assert (found.interrupted, found.discovered) == (True, 0)
