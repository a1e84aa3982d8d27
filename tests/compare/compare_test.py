"""``batchpersist compare`` as a user meets it: the answer, the proof, and the real root as it was."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from compare_schema_test import SCHEMA
from jsonschema import Draft202012Validator
from support.engine import run, tree

from batchpersist.cli.main import cli
from batchpersist.compare import experiment
from batchpersist.compare.measure import Measurement, measure
from batchpersist.compare.options import CompareOptions
from batchpersist.compare.run import compare_batches
from batchpersist.compare.scratch import PREFIX
from batchpersist.errors import MeasurementError
from batchpersist.options import BatchOptions

FIXTURES = Path(__file__).parents[2] / "fixtures"
QUICK = ("--rounds", "2", "--warmup", "0")
ALONE = ("--rounds", "1", "--warmup", "0", "--modes", "grouped", "-j1")
ONE = CompareOptions(rounds=1, warmup=0, modes=("sequential", "grouped"), workers=(1,))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps(run(f"task-{n % 3}", n)) for n in range(9)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines))
    return tmp_path


def only_answer(document: dict[str, Any]) -> dict[str, Any]:
    (answer,) = document["questions"]
    return answer


def invoke(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["compare", *words], input=stdin, catch_exceptions=False)


def add_line(text: str) -> None:
    with open("runs.jsonl", "a") as file:
        file.write("\n" + text)


def states(root: Path) -> dict[str, tuple[object, ...]]:
    """All that is below a root, with the times of the last changes."""
    found = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        state = (status.st_mode, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, content)
        found[path.relative_to(root).as_posix()] = state
    return found


def persist_some(folder: Path) -> None:
    """Put histories of the first runs into the real roots, and one of another task in the legacy form."""
    command = ["run", "runs.jsonl", "--limit", "5", "-q"]
    assert CliRunner().invoke(cli, command, catch_exceptions=False).exit_code == 0
    legacy = {"taskId": "task-9", "lastRunAt": "2025", "runs": [run("task-9", 0) | {"timestamp": "2025"}]}
    (folder / "out" / "task-9").mkdir()
    (folder / "out" / "task-9" / "state.json").write_text(json.dumps(legacy))
    add_line(json.dumps(run("task-9", 1)))


def test_exit_0_with_both_answers_and_the_command_to_use(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "POOL_RUNS", 20)
    result = invoke(str(FIXTURES / "many-tasks" / "source"), *QUICK, "-j", "1,2", "-o", "new/compare.json")
    assert result.exit_code == 0, result.output
    document = json.loads(Path("new/compare.json").read_bytes())
    Draft202012Validator(SCHEMA).validate(document)
    workers, mode = document["questions"]
    assert (workers["question"], mode["question"]) == ("workers", "mode")
    assert [variant["name"] for variant in workers["variants"]] == ["grouped-1", "grouped-2"]
    names = [variant["name"] for variant in mode["variants"]]
    assert names == ["sequential", "paired", "parallel-2", "grouped-1"]
    assert CliRunner().invoke(cli, ["report", "new/compare.json"]).stdout == result.stdout
    assert all(re.search(rf"^  {name} ", result.stdout, re.MULTILINE) for name in names)
    assert "Proof: 8 trees of 35 files each are equal, byte for byte" in result.stdout
    assert document["recommendation"]["command"] in result.stdout.splitlines()[-1]
    assert result.stdout.splitlines()[-1].startswith("Recommended: batchpersist run SOURCES")
    assert sorted(path.name for path in folder.iterdir()) == ["new", "runs.jsonl"]
    for answer in (workers, mode):
        for variant in answer["variants"]:
            assert len(variant["walls"]) == answer["rounds"]["measured"] == 2
            assert variant["counts"]["persisted"] == answer["sample"]["runs"] == 27
            assert variant["speedup"]["low"] is None, "two rounds have no interval"
            assert variant["sum_if_sequential"] >= variant["pair_seconds"] > 0
            assert variant["syncs"] > 0
    by_name = {variant["name"]: variant for variant in mode["variants"]}
    assert by_name["sequential"]["bytes_written"] > by_name["grouped-1"]["bytes_written"]
    assert by_name["sequential"]["syncs"] > by_name["grouped-1"]["syncs"]


def test_number_of_workers_is_not_measured_for_too_few_runs() -> None:
    result = invoke("runs.jsonl", *QUICK, "-j", "1,2", "--modes", "sequential,grouped", "-o", "c.json")
    assert result.exit_code == 0, result.output
    (question,) = json.loads(Path("c.json").read_bytes())["unanswered"]
    assert question["question"] == "workers"
    assert "batchpersist run uses one process for fewer than 2,000 runs" in result.stdout
    assert " -j " not in result.stdout.splitlines()[-1]


def test_the_trees_are_those_that_a_run_writes() -> None:
    found = compare_batches(["runs.jsonl"], CompareOptions(**{**vars(ONE), "keep_scratch": True}))
    assert found.scratch is not None
    CliRunner().invoke(cli, ["run", "runs.jsonl"], catch_exceptions=False)
    expected = {f"out/{name}": text for name, text in tree(Path("out")).items() if name != "metrics.json"}
    expected |= {f"runs/{name}": text for name, text in tree(Path(".runs")).items()}
    for name in ("reference", "grouped-1"):
        assert tree(Path(found.scratch, "mode", name)) == expected


def test_real_roots_are_not_changed(folder: Path) -> None:
    persist_some(folder)
    (folder / ".runs" / "task-0.lock").write_text("held by the orchestrator")
    before = states(folder / "out"), states(folder / ".runs")
    found = compare_batches(["runs.jsonl"], ONE)
    assert (states(folder / "out"), states(folder / ".runs")) == before
    assert found.exit_code == 0
    for variant in only_answer(found.document)["variants"]:
        assert (variant["counts"]["persisted"], variant["counts"]["unchanged"]) == (5, 5)
    assert found.document["history"]["copied"] is True
    assert found.document["history"]["tasks"] == 4


def test_without_history_every_batch_begins_with_empty_roots(folder: Path) -> None:
    persist_some(folder)
    result = invoke("runs.jsonl", *ALONE, "--without-history", "-o", "c.json")
    assert result.exit_code == 0, result.output
    document = json.loads(Path("c.json").read_bytes())
    assert document["history"]["copied"] is False
    assert [variant["counts"]["persisted"] for variant in only_answer(document)["variants"]] == [10]
    assert "Each batch begins without the history of 4 tasks" in result.stdout
    assert "Each batch begins with a copy of the history of 4 tasks" in invoke("runs.jsonl", *ALONE).stdout


def test_the_histories_are_those_of_the_real_root(folder: Path) -> None:
    persist_some(folder)
    found = compare_batches(["runs.jsonl"], CompareOptions(**{**vars(ONE), "keep_scratch": True}))
    trees = tree(Path(found.scratch or "", "mode", "grouped-1"))
    CliRunner().invoke(cli, ["run", "runs.jsonl"], catch_exceptions=False)
    for name, text in tree(folder / "out").items():
        if name.endswith("runs.json"):
            assert trees[f"out/{name}"] == text
    assert len(json.loads(trees["out/task-9/runs.json"])["runs"]) == 2


def tampering(
    how: Callable[[Path], object], when: Callable[[BatchOptions], bool]
) -> Callable[..., Measurement]:
    """A ``measure`` that changes the trees of some batches before they are compared."""

    def tampered(sources: Any, options: BatchOptions, folder: str, context: Any) -> Measurement:
        found = measure(sources, options, folder, context)
        if when(options):
            how(Path(options.out_dir).parent)
        return found

    return tampered


def test_exit_5_when_a_variant_writes_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(root: Path) -> None:
        snapshot = root / "out" / "task-1" / "runs.json"
        snapshot.write_text(snapshot.read_text().replace('"run-4"', '"run-5"'))
        (root / "runs" / "task-2" / "run-8" / "manifest.json").unlink()
        (root / "runs" / "task-0.lock").touch()

    grouped = tampering(spoil, lambda options: options.commit == "task")
    monkeypatch.setattr(experiment, "measure", grouped)
    result = invoke("runs.jsonl", *QUICK, "--modes", "sequential,grouped", "-j1", "-o", "c.json", "-q")
    assert result.exit_code == 5
    assert result.stdout == ""
    shown = result.stderr
    assert "grouped-1, round 0: content: out/task-1/runs.json" in shown
    assert '-      "runId": "run-4",' in shown
    assert '+      "runId": "run-5",' in shown
    assert "grouped-1, round 0: missing: runs/task-2/run-8/manifest.json" in shown
    assert "grouped-1, round 0: extra: runs/task-0.lock" in shown
    assert "The outputs DIFFER in 3 places:" in shown
    document = json.loads(Path("c.json").read_bytes())
    Draft202012Validator(SCHEMA).validate(document)
    proof = only_answer(document)["proof"]
    assert proof["equal"] is False
    assert {found["variant"] for found in proof["differences"]} == {"grouped-1"}


def test_variant_that_differs_in_one_round_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[BatchOptions] = []

    def second_time(options: BatchOptions) -> bool:
        calls.append(options)
        return [call.pair for call in calls].count("sequential") == 2 and options.pair == "sequential"

    chmod = tampering(lambda root: (root / "out" / "task-0" / "runs.json").chmod(0o600), second_time)
    monkeypatch.setattr(experiment, "measure", chmod)
    found = compare_batches(["runs.jsonl"], CompareOptions(**{**vars(ONE), "rounds": 2}))
    assert found.exit_code == 5
    (difference,) = only_answer(found.document)["proof"]["differences"]
    assert (difference["variant"], difference["kind"], difference["round"]) == ("sequential", "mode", 1)


def test_wrong_order_in_group_commits_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes themselves are broken: entries of one commit are in the wrong order."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import batchpersist.snapshots.writer as composition\n"
        "right = composition.merge\n"
        "def wrong(history, arrivals):\n"
        "    order = right(history, arrivals)\n"
        "    return [item for item in order if item >= 0] + [item for item in order if item < 0][::-1]\n"
        "composition.merge = wrong\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    found = compare_batches(["runs.jsonl"], ONE)
    assert found.exit_code == 5
    wrong = only_answer(found.document)["proof"]["differences"]
    assert {difference["path"] for difference in wrong} == {f"out/task-{n}/runs.json" for n in range(3)}
    assert {difference["variant"] for difference in wrong} == {"grouped-1"}
    assert only_answer(found.document)["variants"][1]["counts"]["persisted"] == 9, (
        "it does not notice it itself"
    )


def test_exit_3_when_the_same_runs_fail_in_all_variants(folder: Path) -> None:
    (folder / "out" / "task-1").mkdir(parents=True)
    (folder / "out" / "task-1" / "runs.json").write_text("no snapshot")
    add_line("no json")
    result = invoke("runs.jsonl", *QUICK, "-j", "1", "--modes", "sequential,grouped")
    assert result.exit_code == 3
    assert "Failed: 3 runs in each batch" in result.stdout
    assert "Skipped 1 invalid line of the sources." in result.stdout
    assert "Proof: 4 trees" in result.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("runs.jsonl", "--modes", "paired,fast"), "'fast' is none of sequential, paired, parallel, grouped"),
        (("runs.jsonl", "--workers", "1,x"), "'1,x' is not a list of numbers such as 1,2,4"),
        (("runs.jsonl", "--workers", "0"), "'0' is not a list of numbers"),
        (("runs.jsonl", "--rounds", "0"), "0 is not in the range x>=1"),
        (("runs.jsonl", "--max-time", "0"), "not in the range x>0"),
        (("runs.jsonl", "--scratch", "absent"), "'absent' does not exist"),
        (("runs.jsonl", "--out-dir", "x", "--runs-dir", "x"), "two folders"),
        ((), "Missing argument 'SOURCES...'"),
    ],
)
def test_exit_2_on_wrong_usage(folder: Path, words: tuple[str, ...], complaint: str) -> None:
    result = invoke(*words)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert [path.name for path in folder.iterdir()] == ["runs.jsonl"]


def test_exit_10_when_a_source_is_missing(folder: Path) -> None:
    result = invoke("runs.jsonl", "absent.jsonl")
    assert result.exit_code == 10
    assert result.stderr == "Error: source not found: absent.jsonl\n"
    assert [path.name for path in folder.iterdir()] == ["runs.jsonl"]


def test_unwritable_output_is_reported_before_the_work(folder: Path) -> None:
    result = invoke("runs.jsonl", "-o", str(folder))
    assert result.exit_code == 1
    assert "Is a directory" in result.stderr


def test_failed_measurement_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    result = invoke("runs.jsonl", *QUICK)
    assert result.exit_code == 1
    assert result.stderr == "Error: could not be measured: it was killed\n"
    assert [path.name for path in folder.iterdir()] == ["runs.jsonl"]


@pytest.fixture
def comparison(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A comparison under way, that would take minutes: the pairs are synced one by one."""
    lines = (json.dumps(run("task", 0) | {"runId": f"r{n}", "notes": "x" * 2000}) for n in range(99))
    (folder / "many.jsonl").write_text("\n".join(lines))
    command = [sys.executable, "-m", "batchpersist", "compare", "many.jsonl", "--progress", "none"]
    process = subprocess.Popen(
        [*command, "--rounds", "500", "--durability", "file"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(folder.glob(f"{PREFIX}*/*/runs/task/*/manifest.json")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_exit_130_and_143_when_interrupted_and_nothing_is_left(
    folder: Path, comparison: subprocess.Popen[str], number: int, code: int
) -> None:
    os.killpg(comparison.pid, number)
    stdout, stderr = comparison.communicate(timeout=60)
    assert comparison.returncode == code, stderr
    assert stdout == ""
    name = signal.Signals(number).name
    assert stderr.splitlines() == [
        f"{name}: stopping, and removing the scratch folder; once more to stop at once",
        "Interrupted. Nothing was compared, and nothing is left of it.",
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["many.jsonl", "runs.jsonl"]


def test_next_comparison_removes_the_scratch_folder_of_a_killed_one(
    folder: Path, comparison: subprocess.Popen[str]
) -> None:
    comparison.kill()
    comparison.wait()
    assert list(folder.glob(f"{PREFIX}*"))
    assert compare_batches(["runs.jsonl"], ONE).exit_code == 0
    assert list(folder.glob(f"{PREFIX}*")) == []


def test_standard_input_is_read_once_and_compared(folder: Path) -> None:
    result = invoke("-", *ALONE, "--json", stdin=(folder / "runs.jsonl").read_text())
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["config"]["sources"] == ["-"]
    assert only_answer(document)["sample"]["runs"] == 9


def test_only_selected_runs_are_compared() -> None:
    words = ("--task", "task-[01]", "--since", "2026-01-01T00:02:00Z", "--limit", "3")
    document = json.loads(invoke("runs.jsonl", *ALONE, "--json", *words).stdout)
    answer = only_answer(document)
    assert (answer["sample"]["runs"], answer["sample"]["tasks"]) == (3, 2)
    assert {variant["counts"]["selected"] for variant in answer["variants"]} == {3}


def test_no_run_to_compare_is_an_error(folder: Path) -> None:
    (folder / "empty.jsonl").touch()
    result = invoke("empty.jsonl", *ALONE)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "Error: no run in the sources matches: there is nothing to compare"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["empty.jsonl", "runs.jsonl"]


def test_source_that_changes_meanwhile_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def shorten(_root: Path) -> None:
        Path("runs.jsonl").write_text("\n".join(Path("runs.jsonl").read_text().splitlines()[:-1]))

    monkeypatch.setattr(experiment, "measure", tampering(shorten, lambda _options: True))
    with pytest.raises(MeasurementError, match="the sources were changed"):
        compare_batches(["runs.jsonl"], ONE)


def test_source_that_grows_meanwhile_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    grow = tampering(lambda _root: add_line(json.dumps(run("late", 99))), lambda _options: True)
    monkeypatch.setattr(experiment, "measure", grow)
    found = compare_batches(["runs.jsonl"], ONE)
    assert found.exit_code == 0
    assert found.document["runs"] == 9


def test_options_may_come_from_a_file_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("batchpersist.toml").write_text('workers = 1\n[compare]\nrounds = 1\nwarmup = 0\nmodes = "grouped"')
    monkeypatch.setenv("BATCHPERSIST_COMPARE_SEED", "7")
    config = json.loads(invoke("runs.jsonl", "--json").stdout)["config"]
    assert (config["workers"], config["rounds"], config["modes"], config["seed"]) == ([1], 1, ["grouped"], 7)


def test_progress_goes_to_standard_error() -> None:
    result = invoke("runs.jsonl", *ALONE, "--progress", "bar")
    assert "measure:" in result.stderr
    assert "measure:" not in result.stdout
