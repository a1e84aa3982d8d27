"""A root in which the orchestrator itself has run, audited and repaired."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.engine import tree
from support.model import stringify
from support.scans import put

from batchpersist.cli.main import cli
from batchpersist.contract.runs_root import KEPT_BESIDE_SNAPSHOT, SECRETS

SOURCE = Path(__file__).parents[2] / "fixtures" / "orchestrator-root" / "source"
RUNS, OUT = Path(".runs"), Path("out")
OLD = ("0099-old", "2025-11-03T08-15-30-120Z-0f21ab77")
FIRST = ("0101-alpha", "2026-12-01T11-55-05-845Z-4aae8f05")
FAILED = ("0101-alpha", "2026-12-01T11-55-21-771Z-35c3f8e1")
EXEC = ("0101-alpha", "2026-12-01T11-55-24-614Z-3c5df3a2")
BETA = ("0102-beta", "2026-12-01T11-55-14-064Z-65c9d536")
ALL = (OLD, FIRST, FAILED, BETA)

Run = dict[str, Any]


def summary(task: str, run: str) -> Path:
    return RUNS / task / "cli" / run / "run-summary.json"


def manifest(task: str, run: str) -> Path:
    return RUNS / task / run / "manifest.json"


def read(path: Path) -> Run:
    value: Run = json.loads(path.read_bytes())
    return value


def entries(task: str) -> list[Run]:
    runs: list[Run] = read(OUT / task / "runs.json")["runs"]
    return runs


def write_snapshot(task: str, *runs: Run) -> None:
    snapshot = {"taskId": task, "lastRunAt": runs[-1]["timestamp"], "runs": list(runs)}
    put(OUT / task / "runs.json", stringify(snapshot).encode())


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As the orchestrator leaves it: some entries have all members, others as few as the manifest."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SOURCE, RUNS, symlinks=True)
    write_snapshot("0099-old", read(manifest(*OLD)))
    write_snapshot("0101-alpha", read(summary(*FIRST)), read(manifest(*FAILED)))
    write_snapshot("0102-beta", read(manifest(*BETA)))
    for name in KEPT_BESIDE_SNAPSHOT:
        put(OUT / "0101-alpha" / name if "." in name else OUT / "0101-alpha" / name / "x.json", b"{}")
    put(RUNS / "0101-alpha" / "metrics.pending" / "1.json", b"{}")
    put(RUNS / "learning-snapshots" / "0101-alpha" / "x.tar.gz", b"")
    return tmp_path


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, [*words], catch_exceptions=False)


def audit(*words: str) -> tuple[int, list[tuple[str, str, str]]]:
    """The exit code, and kind, task and run of what was found."""
    result = invoke("audit", "--pause", "0", "--json", "--combined", "signs", *words)
    events = [json.loads(line) for line in result.stdout.splitlines()]
    found = [item for item in events if item["message_type"] == "finding"]
    return result.exit_code, sorted((item["kind"], item["task_id"], item["run_id"]) for item in found)


def signs() -> dict[str, str]:
    """Sign by run."""
    return {line[2:].partition("/")[2]: line[0] for line in Path("signs").read_text().splitlines()}


def repair(*words: str) -> Result:
    return invoke("repair", "--pause", "0", *words)


def change(path: Path, **members: Any) -> None:
    path.write_text(stringify(read(path) | members))


def all_signs(sign: str) -> dict[str, str]:
    return {run: sign for _, run in ALL}


def test_a_healthy_root_has_no_difference() -> None:
    enriched = [("enriched", *run) for run in (FIRST, FAILED, BETA)]
    assert audit() == (0, enriched)
    assert signs() == all_signs("~") | {OLD[1]: "="}
    assert repair().stdout == "Nothing to repair.\n"
    assert repair("--yes").exit_code == 0
    assert audit(".runs") == (0, enriched)


def test_after_a_batch_all_texts_are_the_same() -> None:
    assert invoke("run", ".runs").exit_code == 0
    assert audit() == (0, [])
    assert signs() == all_signs("=")
    assert audit(".runs") == (0, [])


def test_enriched_texts_are_reported_with_the_sides_that_have_fewer_members() -> None:
    stdout = invoke("audit", "--pause", "0").stdout
    assert f"{FIRST[1]}/manifest.json): more members in summary and snapshot than in manifest" in stdout
    assert f"{BETA[1]}/manifest.json): more members in summary than in snapshot and manifest" in stdout
    assert stdout.splitlines()[-1] == (
        "4 runs of 3 tasks compared: no difference. 3 runs with more members in some texts: normal."
    )


def test_repair_completes_texts_only_if_asked() -> None:
    before = [path.read_bytes() for path in (OUT / "0102-beta/runs.json", manifest(*BETA))]
    assert repair("--yes").exit_code == 0
    assert [path.read_bytes() for path in (OUT / "0102-beta/runs.json", manifest(*BETA))] == before
    assert repair("--complete").exit_code == 0
    assert repair("--yes", "--complete").exit_code == 0
    for run in (FIRST, FAILED, BETA):
        assert manifest(*run).read_text() == summary(*run).read_text().removesuffix("\n")
    assert entries("0101-alpha") == [read(summary(*FIRST)), read(summary(*FAILED))]
    assert audit() == (0, [])
    assert "3 unchanged" in invoke("run", ".runs", "--task", "01*").stdout
    assert repair("--yes", "--complete").stdout == "Nothing to repair.\n"


def test_completing_replaces_only_texts_with_fewer_members() -> None:
    write_snapshot("0101-alpha", read(summary(*FIRST)), read(summary(*FAILED)))
    before = (OUT / "0101-alpha/runs.json").stat().st_ino
    assert repair("--yes", "--complete", "--task", "0101-alpha").exit_code == 0
    assert (OUT / "0101-alpha/runs.json").stat().st_ino == before
    assert audit("--task", "0101-alpha") == (0, [])


def test_a_run_that_was_locked_out_is_missing_in_snapshot_and_recorded_from_its_summary() -> None:
    write_snapshot("0101-alpha", read(manifest(*FAILED)))
    manifest(*FIRST).unlink()
    code, found = audit("--task", "0101-alpha")
    assert code == 5
    assert ("missing-in-snapshot", *FIRST) in found
    assert ("missing-manifest", *FIRST) in found
    assert signs()[FIRST[1]] == "-"
    assert repair("--yes").exit_code == 0
    assert entries("0101-alpha") == [read(summary(*FIRST)), read(manifest(*FAILED))]
    assert read(manifest(*FIRST)) == read(summary(*FIRST))
    assert audit()[0] == 0


def test_a_missing_snapshot_is_written_from_the_texts_with_most_members() -> None:
    (OUT / "0101-alpha/runs.json").unlink()
    (OUT / "0101-alpha/state.json").unlink()
    assert repair("--yes").exit_code == 0
    assert entries("0101-alpha") == [read(summary(*FIRST)), read(summary(*FAILED))]


@pytest.mark.parametrize("link", ["0101-alpha/cli", "0101-alpha/cli/" + FIRST[1]])
def test_a_link_to_run_folders_elsewhere_is_a_difference(link: str) -> None:
    assert repair("--yes", "--complete").exit_code == 0
    shutil.move(RUNS / link, "elsewhere")
    (RUNS / link).symlink_to(Path("elsewhere").absolute())
    assert audit() == (5, [("wrong-file-type", "0101-alpha", "")])


def test_texts_that_differ_are_a_difference() -> None:
    change(manifest(*BETA), mode="cloud")
    code, found = audit()
    assert code == 5
    assert ("content-differs", *BETA) in found
    assert signs()[BETA[1]] == "*"
    details = invoke("audit", "--pause", "0").stdout
    assert "summary, snapshot and manifest all differ" in details


def test_members_that_are_added_elsewhere_than_at_the_end_are_a_difference() -> None:
    run = read(manifest(*BETA))
    manifest(*BETA).write_text(stringify({"first": 1, **run}))
    assert ("content-differs", *BETA) in audit()[1]
    manifest(*BETA).write_text(stringify({**run, "plan": {**run["plan"], "more": 1}}))
    assert ("content-differs", *BETA) in audit()[1]


def test_repair_takes_the_summary_where_that_is_preferred() -> None:
    change(manifest(*BETA), mode="cloud")
    assert repair("--yes").exit_code == 3
    assert repair("--yes", "--prefer", "summary").exit_code == 0
    assert entries("0102-beta") == [read(summary(*BETA))] == [read(manifest(*BETA))]


def test_files_of_the_orchestrator_are_not_foreign() -> None:
    put(RUNS / "0101-alpha" / "mine.txt", b"")
    put(OUT / "0101-alpha" / "mine.txt", b"")
    foreign = [item for item in audit()[1] if item[0] == "foreign-file"]
    assert foreign == [("foreign-file", "0101-alpha", "")] * 2


def test_outputs_of_a_batch_below_the_roots_are_not_foreign() -> None:
    places = ["--metrics", "out/m.json", "--outcomes", ".runs/o.csv", "--prometheus-textfile", "out/p.prom"]
    assert invoke("run", ".runs", *places).exit_code == 0
    assert audit() == (0, [])


@pytest.mark.parametrize("name", ["cli", "metrics", "mcp"])
def test_run_may_have_the_name_of_an_orchestrator_folder(name: str) -> None:
    run = {"taskId": "0101-alpha", "runId": name, "timestamp": "2027-01-01"}
    manifest("0101-alpha", name).write_text(stringify(run))
    assert ("missing-in-snapshot", "0101-alpha", name) in audit()[1]
    assert repair("--yes").exit_code == 0
    assert entries("0101-alpha")[-1] == run


def test_task_may_have_the_name_of_an_orchestrator_folder() -> None:
    put(Path("s.jsonl"), b'{"taskId": "local-mcp", "runId": "r", "timestamp": "2027-01-01"}\n')
    shutil.rmtree(RUNS / "local-mcp")
    assert invoke("run", "s.jsonl").exit_code == 0
    assert audit("--task", "local-mcp") == (0, [])
    manifest("local-mcp", "r").unlink()
    assert audit("--task", "local-mcp") == (5, [("missing-manifest", "local-mcp", "r")])


def test_a_command_that_was_executed_is_not_a_run() -> None:
    assert read(summary(*EXEC))["type"] == "run:summary"
    audit()
    assert EXEC[1] not in signs()


def test_an_unreadable_summary_is_unchecked() -> None:
    summary(*BETA).write_text("{torn")
    code, found = audit("--task", "0102-beta")
    assert (code, found) == (3, [("invalid-source", *BETA)])
    assert signs()[BETA[1]] == "!"


@pytest.mark.parametrize("key", ["taskId", "runId"])
def test_a_summary_of_another_run_is_unchecked_and_left(key: str) -> None:
    assert repair("--yes", "--complete").exit_code == 0
    change(summary(*BETA), **{key: "elsewhere"})
    assert audit("--task", "0102-beta") == (3, [("invalid-source", *BETA)])
    before = tree(RUNS), tree(OUT)
    assert repair("--yes", "--complete").exit_code == 3
    assert (tree(RUNS), tree(OUT)) == before


@pytest.mark.parametrize(
    ("written", "rewritten"),
    [
        (b'"n": 1.0', b'"n": 1'),
        (b'"n": 1e-07', b'"n": 1e-7'),
        (b'"n": 12345678901234567890', b'"n": 12345678901234567000'),
        (b'"n": 0.1234567890123456789', b'"n": 0.12345678901234568'),
        (b'"b": 1,\n  "7": 2', b'"7": 2,\n  "b": 1'),
        (b'"a": 1,\n  "a": 2', b'"a": 2'),
    ],
)
def test_rewritten_text_of_the_orchestrator_is_the_same(written: bytes, rewritten: bytes) -> None:
    head = b'"taskId": "t",\n  "runId": "r",\n  "timestamp": "2027-01-01",\n  '
    put(RUNS / "t/r/manifest.json", b"{\n  " + head + written + b"\n}")
    first, comma, rest = rewritten.partition(b",\n  ")  # names that are indices come first in the object
    entry = b"{\n  " + (first + comma + head + rest if comma else head + rewritten) + b"\n}"
    snapshot = b'{\n  "taskId": "t",\n  "lastRunAt": "2027-01-01",\n  "runs": [\n    %b\n  ]\n}'
    put(OUT / "t/runs.json", snapshot % entry.replace(b"\n", b"\n    "))
    code, found = audit("--task", "t")
    assert code == 0
    assert {kind for kind, _, _ in found} <= {"other-layout"}
    assert signs() == {"r": "="}


@pytest.mark.parametrize("words", [["audit"], ["repair"], ["repair", "--yes", "--complete"]])
def test_no_secret_is_opened(tool: Callable[[str], str], words: list[str]) -> None:
    for secret in SECRETS:
        for folder in RUNS.glob("*/cli/*/"):
            put(folder / secret, b"placeholder")
    trace = [tool("strace"), "-ff", "-qq", "-s", "4096", "-o", "log", "-e", "trace=%file"]
    command = [sys.executable, "-m", "batchpersist", *words, "--pause", "0"]
    done = subprocess.run([*trace, *command], check=False, capture_output=True)
    assert done.returncode == 0
    log = "".join(path.read_text() for path in Path().glob("log.*"))
    assert "run-summary.json" in log
    assert not [secret for secret in SECRETS if secret in log]
