"""Empty sources, selections and roots are reported, and do not look like a success."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.engine import run

from batchpersist.cli.main import cli


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(run("task", n)) + "\n" for n in range(3)))
    return tmp_path


def invoke(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(cli, words, input=stdin, catch_exceptions=False)


NOTHING = {
    "an empty folder": (("empty",), "No runs were found in the sources."),
    "an empty standard input": (("-",), "No runs were found in the sources."),
    "a task that matches nothing": (
        ("runs.jsonl", "--task", "tsak"),
        "None of the 3 runs found is selected (--task, --since, --until, --limit).",
    ),
    "a time in the future": (
        ("runs.jsonl", "--since", "2999-01-01"),
        "None of the 3 runs found is selected (--task, --since, --until, --limit).",
    ),
}
COMMANDS = {"run": ("run",), "dry run": ("run", "-n"), "validate": ("validate",)}


@pytest.mark.parametrize("case", NOTHING)
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_found_is_reported_and_may_fail(command: str, case: str) -> None:
    words, said = NOTHING[case]
    result = invoke(*COMMANDS[command], *words)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].endswith(said)
    result = invoke(*COMMANDS[command], *words, "--fail-if-empty", "-q")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1].endswith(said)


@pytest.mark.parametrize("command", COMMANDS)
def test_fail_if_empty_accepts_a_source_with_runs(command: str) -> None:
    result = invoke(*COMMANDS[command], "runs.jsonl", "--fail-if-empty")
    assert result.exit_code == 0
    assert "No runs" not in result.stdout
    assert "None of" not in result.stdout


def test_fail_if_empty_rejects_an_empty_pipe(folder: Path) -> None:
    script = f"zcat missing.gz 2>/dev/null | {sys.executable} -m batchpersist run - --fail-if-empty"
    done = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout.endswith("No runs were found in the sources.\n")


def test_an_empty_batch_is_recorded_and_reported_as_a_failure() -> None:
    assert invoke("run", "empty", "--fail-if-empty").exit_code == 3
    assert json.loads(invoke("status", "--json").stdout)["exit_code"] == 3
    document = json.loads(invoke("report", "-f", "json").stdout)
    assert document["verdict"]["level"] == "warning"
    assert document["config"]["fail_if_empty"] is True
    assert "batchpersist_last_batch_success" in invoke("report", "-f", "prometheus").stdout
    success = [
        line for line in invoke("report", "-f", "prometheus").stdout.splitlines() if "_success{" in line
    ]
    assert all(line.endswith(" 0.0") for line in success)


def test_a_shard_without_tasks_is_not_empty_where_others_have_them() -> None:
    codes = [invoke("run", "runs.jsonl", "--shard", f"{k}/3", "--fail-if-empty").exit_code for k in (1, 2, 3)]
    assert codes == [0, 0, 0]
    parts = [f"out/metrics-{k}-of-3.json" for k in (1, 2, 3)]
    assert invoke("merge-metrics", *parts, "-o", "merged.json").exit_code == 0
    for k in (1, 2, 3):
        assert invoke("run", "empty", "--shard", f"{k}/3", "--fail-if-empty").exit_code == 3
    assert invoke("merge-metrics", *parts, "-o", "merged.json").exit_code == 3


def test_a_comparison_without_runs_is_reported() -> None:
    result = invoke("compare", "empty")
    assert result.exit_code == 2
    assert "no runs" in result.stderr.lower() or "no run" in result.stderr.lower()


@pytest.mark.parametrize("words", [("audit",), ("audit", "empty"), ("repair",), ("repair", "--yes")])
def test_a_root_without_runs_is_not_reported_as_correct(words: tuple[str, ...]) -> None:
    Path("out").mkdir()
    Path(".runs").mkdir()
    result = invoke(*words)
    assert (result.exit_code, result.stdout) == (
        0,
        "Nothing was there to compare: the roots have no runs, or none that --task selects.\n",
    )
    if words[0] == "audit":
        assert invoke(*words, "--fail-if-empty").exit_code == 3


def test_an_audit_or_repair_of_no_task_is_not_reported_as_correct() -> None:
    invoke("run", "runs.jsonl")
    for words in (("audit",), ("repair",)):
        assert "no difference" not in (found := invoke(*words, "--task", "tsak").stdout)
        assert found.startswith("Nothing was there to compare")
    assert invoke("audit", "--task", "tsak", "--fail-if-empty").exit_code == 3
    assert invoke("audit", "--task", "task", "--fail-if-empty").exit_code == 0


ROOTS = ["audit", "audit runs.jsonl", "repair", "repair --yes", "status", "status latest", "status --json"]
ROOTS += ["report", "report 2026", "retry", "retry --only invalid", "locks list", "locks unlock task"]


@pytest.mark.parametrize("words", ROOTS)
def test_a_root_that_does_not_exist_is_exit_code_10_and_named(words: str, folder: Path) -> None:
    (folder / "out").mkdir()
    before = sorted(os.listdir())
    result = invoke(*words.split(), "--runs-dir", "rnus")
    assert result.exit_code == 10
    assert f"Error: there is no folder {folder / 'rnus'} (--runs-dir); nothing was done\n" in result.stderr
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("words", ["audit", "repair", "repair --yes"])
def test_an_out_dir_that_does_not_exist_is_exit_code_10_and_named(words: str, folder: Path) -> None:
    (folder / ".runs").mkdir()
    result = invoke(*words.split(), "--out-dir", "otu")
    assert result.exit_code == 10
    assert f"Error: there is no folder {folder / 'otu'} (--out-dir); nothing was done\n" in result.stderr
    assert os.listdir(".runs") == []


def test_metrics_that_do_not_exist_are_exit_code_10_and_named() -> None:
    result = invoke("merge-metrics", "absent.json", "-o", "merged.json")
    assert (result.exit_code, "absent.json" in result.stderr) == (10, True)
    assert not Path("merged.json").exists()
