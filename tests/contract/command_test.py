"""On a root that the orchestrator's own command wrote; and it goes on recording."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

STAGES = [
    ("build", "echo built; mkdir -p dist && echo 1 > dist/app"),
    ("test", "test -f dist/app && echo tested"),
]


def pipeline(name: str, stages: list[tuple[str, str]]) -> dict[str, Any]:
    commands = [{"kind": "command", "id": name, "title": name, "command": line} for name, line in stages]
    return {"id": name, "title": name, "stages": commands}


PIPELINES = [pipeline("shell", STAGES), pipeline("endless", [("wait", "touch waiting; sleep 600")])]


@dataclass
class Repository:
    """A git repository in which the orchestrator runs a pipeline of shell commands."""

    folder: Path
    package: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        (self.folder / "codex.orchestrator.json").write_text(json.dumps({"pipelines": PIPELINES}))
        subprocess.run(["git", "init", "-q"], cwd=self.folder, check=True)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """The command in a process group of its own, with nothing of the user's set-up of it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CODEX", "MCP"))}
        return subprocess.Popen(
            ["node", str(self.package / "bin/codex-orchestrator.js"), *words],
            cwd=self.folder,
            env=kept | {"HOME": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self, task: str) -> str:
        """Have the command run the pipeline; the run's id."""
        words = ("start", "shell", "--task", task, "--runtime-mode", "cli", "--format", "json")
        with self.begin(*words) as process:
            printed, complaints = process.communicate()
        assert process.returncode == 0, complaints
        result = json.loads(printed[printed.index("\n{\n") :])
        assert result["status"] == "succeeded"
        return str(result["run_id"])

    def execute(self, task: str) -> None:
        """Have the command execute a single command: no run of a pipeline."""
        with self.begin("exec", "--task", task, "--json", "--", "echo", "hi") as process:
            _, complaints = process.communicate()
        assert process.returncode == 0, complaints

    def kill_under_way(self, task: str) -> None:
        """Kill the command while it runs a pipeline."""
        with self.begin("start", "endless", "--task", task, "--runtime-mode", "cli") as process:
            while not (self.folder / "waiting").exists():
                assert process.poll() is None
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGKILL)

    def batchpersist(self, *words: str) -> tuple[int, str]:
        """The exit code and all that was printed."""
        done = subprocess.run(
            [sys.executable, "-m", "batchpersist", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def snapshot(self, task: str) -> Any:
        return json.loads((self.folder / "out" / task / "runs.json").read_bytes())

    def run_ids(self, task: str) -> list[str]:
        return [run["runId"] for run in self.snapshot(task)["runs"]]

    def drop_entry(self, task: str, run_id: str) -> None:
        """As if the run's snapshot had been skipped because the task was locked."""
        snapshot = self.snapshot(task)
        snapshot["runs"] = [run for run in snapshot["runs"] if run["runId"] != run_id]
        (self.folder / "out" / task / "runs.json").write_text(json.dumps(snapshot, indent=2))

    def counts(self) -> dict[str, int]:
        """Those of the last batch that are not 0."""
        metrics = json.loads((self.folder / "out/metrics.json").read_bytes())
        return {name: count for name, count in metrics["counts"].items() if count}


@pytest.fixture
def repository(tmp_path: Path, orchestrator_package: Path, tool: Any) -> Repository:
    tool("git")
    return Repository(tmp_path / "repository", orchestrator_package)


def test_a_batch_records_what_the_command_ran_and_the_command_goes_on_recording(
    repository: Repository,
) -> None:
    runs = {"0101-alpha": [repository.start("0101-alpha") for _ in range(2)]}
    runs["0102-beta"] = [repository.start("0102-beta")]
    kept = {task: repository.snapshot(task) for task in runs}
    for task in runs:
        (repository.folder / "out" / task / "runs.json").unlink()

    assert repository.batchpersist("run", ".runs")[0] == 0
    assert repository.counts() == {"discovered": 3, "selected": 3, "persisted": 3, "both_ok": 3}
    for task, snapshot in kept.items():
        assert repository.run_ids(task) == runs[task]
        for before, after in zip(snapshot["runs"], repository.snapshot(task)["runs"], strict=True):
            assert before.items() <= after.items()  # the summary has members that came later
    assert repository.batchpersist("run", ".runs")[0] == 0
    assert repository.counts() == {"discovered": 3, "selected": 3, "unchanged": 3, "both_ok": 3}

    for task, ids in runs.items():
        ids.append(repository.start(task))
        assert repository.run_ids(task) == ids


def test_an_audit_finds_no_difference_before_and_after_a_batch_and_a_repair_records_what_was_locked_out(
    repository: Repository,
) -> None:
    runs = [repository.start("0101-alpha") for _ in range(2)]
    code, told = repository.batchpersist("audit")
    assert (code, "foreign-file" in told) == (0, False), told
    assert repository.batchpersist("repair", "--yes")[0] == 0

    repository.drop_entry("0101-alpha", runs[0])
    code, told = repository.batchpersist("audit")
    assert (code, "missing-in-snapshot" in told) == (5, True), told
    assert repository.batchpersist("repair", "--yes")[0] == 0
    assert repository.run_ids("0101-alpha") == runs

    assert repository.batchpersist("run", ".runs")[0] == 0
    clean = (0, "2 runs of 1 task compared: no difference.\n")
    assert repository.batchpersist("audit") == clean
    runs.append(repository.start("0101-alpha"))
    assert repository.run_ids("0101-alpha") == runs
    assert repository.batchpersist("audit")[0] == 0
    assert repository.batchpersist("repair", "--yes", "--complete")[0] == 0
    assert repository.batchpersist("audit") == (0, "3 runs of 1 task compared: no difference.\n")


def test_of_its_root_the_completed_runs_are_read_and_the_others_counted(repository: Repository) -> None:
    run_id = repository.start("0101-alpha")
    repository.execute("0101-alpha")
    repository.kill_under_way("0102-beta")

    code, printed = repository.batchpersist("run")
    assert code == 0
    assert "reading the orchestrator's root .runs" in printed
    assert repository.counts()["discovered"] == 1
    assert repository.run_ids("0101-alpha") == [run_id]
    passed_over = json.loads((repository.folder / "out/metrics.json").read_bytes())["passed_over"]
    assert passed_over == {"other_events": 1, "other_manifests": 0, "ignored_files": 0, "incomplete": 1}
