"""What a command advises to do next helps, and does not lead in a circle."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from batchpersist.cli.main import cli


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*words: str) -> Result:
    return CliRunner().invoke(cli, [*words], catch_exceptions=False)


def source(*runs: dict[str, str]) -> None:
    Path("s.jsonl").write_text("".join(json.dumps(run) + "\n" for run in runs))


def usual(number: int) -> dict[str, str]:
    return {"taskId": "mail", "runId": f"r{number}", "timestamp": f"2026-01-0{number}"}


def snake(number: int) -> dict[str, str]:
    return {"task_id": "mail", "run-id": f"r{number}", "completed at": f"2026-01-0{number}"}


@pytest.mark.parametrize("name", ["run", "validate"])
def test_options_that_read_other_key_names_are_shown(name: str) -> None:
    source(*map(snake, (1, 2, 3)))
    result = command(name, "s.jsonl")
    assert result.exit_code == 3
    found = re.search(r"3 documents found, and each lacks a key\. (--.*) would read it\.", result.stdout)
    assert found
    assert command(name, "s.jsonl", *shlex.split(found[1])).exit_code == 0


@pytest.mark.parametrize("name", ["run", "validate"])
def test_key_options_are_shown_if_no_name_resembles_a_key(name: str) -> None:
    source({"x": "1"}, {"y": "2"})
    stdout = command(name, "s.jsonl").stdout
    assert "2 documents found, and each lacks a key. --task-key, --run-key and --time-key say" in stdout


def test_key_options_are_not_shown_for_a_single_line() -> None:
    source(usual(1), {"x": "1"})
    assert "--task-key" not in command("run", "s.jsonl").stdout


def test_a_batch_without_valid_input_does_not_claim_success() -> None:
    source(snake(1))
    assert "No input was valid, so nothing was persisted." in command("run", "s.jsonl").stdout


@pytest.mark.parametrize("content", ["{torn", '{"taskId": "other", "runs": []}'])
def test_a_damaged_snapshot_leads_to_repair(content: str) -> None:
    source(*map(usual, (1, 2)))
    Path("out/mail").mkdir(parents=True)
    Path("out/mail/runs.json").write_text(content)
    first = command("run", "s.jsonl")
    assert first.exit_code == 3
    assert "`batchpersist repair` restores damaged snapshots" in first.stdout
    assert "`batchpersist repair` restores damaged snapshots" in command("report").stdout
    assert command("repair", "--yes", "--pause", "0").exit_code == 0
    assert command("run", "s.jsonl").exit_code == 0


def test_too_many_failures_lead_to_max_failures() -> None:
    source(usual(1), {"x": "1"}, {"x": "2"})
    stopped = command("run", "s.jsonl", "--max-failures", "1")
    assert stopped.exit_code == 4
    assert "allow more failures by --max-failures" in stopped.stdout
    assert "--max-failures" in command("status", "latest").stdout
    assert command("run", "s.jsonl", "--max-failures", "2").exit_code == 3
