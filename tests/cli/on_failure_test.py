"""``--on-failure COMMAND``: when it runs, and what it gets."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.engine import run

from batchpersist.cli.main import cli
from batchpersist.locks.batch_lock import BatchLock
from batchpersist.paths import Layout


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps(run(f"task-{n % 3}", n)) for n in range(9)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, ["run", *words], catch_exceptions=False)


@pytest.fixture
def read_record(folder: Path) -> Callable[[], list[str]]:
    """Make the program that ``COMMAND`` runs; return a function that reads and removes its record."""
    script = """
import json, os, sys
names = ("EXIT_CODE", "METRICS", "BATCH", "ON_FAILURE", "RUN_ON_FAILURE")
record = [sys.argv[1:], *(os.environ.get("BATCHPERSIST_" + name) for name in names)]
json.dump(record, open("record.json", "w"))
"""
    (folder / "record it.py").write_text(script)

    def read() -> list[str]:
        content: list[str] = json.loads(Path("record.json").read_text())
        Path("record.json").unlink()
        return content

    return read


COMMAND = shlex.join([sys.executable, "record it.py", "a b"])


def test_the_command_gets_the_batch_and_the_path_of_its_metrics(
    folder: Path, read_record: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHPERSIST_ON_FAILURE", COMMAND)
    with Path("runs.jsonl").open("a") as file:
        file.write("no json")
    assert invoke("runs.jsonl").exit_code == 3
    words, code, metrics, batch, itself, itself_too = read_record()
    assert words == ["a b", str(folder / "out/metrics.json")]
    assert (code, metrics) == ("3", words[1])
    assert batch == json.loads(Path(metrics).read_bytes())["batch_id"]
    assert (itself, itself_too) == (None, None)


def test_it_is_not_run_after_a_success_or_a_dry_run(read_record: Callable[[], list[str]]) -> None:
    assert invoke("runs.jsonl", "--on-failure", COMMAND).exit_code == 0
    Path("broken.jsonl").write_text("no json\n")
    assert invoke("broken.jsonl", "--dry-run", "--on-failure", COMMAND).exit_code == 3
    assert not Path("record.json").exists()


def test_it_is_run_when_the_batch_could_not_start(read_record: Callable[[], list[str]]) -> None:
    assert invoke("absent", "--on-failure", COMMAND).exit_code == 10
    assert read_record()[:4] == [["a b", ""], "10", "", ""]
    with BatchLock(Layout("out", ".runs"), "another"):
        assert invoke("runs.jsonl", "--on-failure", COMMAND).exit_code == 11
    assert read_record()[1] == "11"
    assert invoke("runs.jsonl", "--out-dir", "x", "--runs-dir", "x", "--on-failure", COMMAND).exit_code == 2
    assert read_record()[1] == "2"


@pytest.mark.parametrize(
    ("command", "complaint"),
    [("false", "itself ended with 1: false"), ("no-such-command x", "could not be run: [ENOENT]")],
)
def test_its_own_failure_is_reported_and_changes_nothing(command: str, complaint: str) -> None:
    result = invoke("absent", "--on-failure", command, "--log-file", "night.log")
    assert result.exit_code == 10
    assert complaint in result.stderr
    assert complaint in Path("night.log").read_text().splitlines()[-1]


FAULTS = {
    "a typo in the file": ("workers = = 2", []),
    "an option that does not exist in the file": ("worker = 2", []),
    "a table that does not exist in the file": ("[rnu]", []),
    "a value that does not exist in the file": ("workers = 0", []),
    "a profile that does not exist": ("", ["--profile", "nightyl", "run", "runs.jsonl"]),
    "a file that is not there": ("", ["--config", "absent.toml", "run", "runs.jsonl"]),
    "an option that does not exist": ("", ["run", "runs.jsonl", "--worker", "2"]),
    "a value that does not exist": ("", ["run", "runs.jsonl", "--workers", "many"]),
    "no sources": ("", ["run"]),
    "a global option that does not exist": ("", ["--porfile", "nightly", "run", "runs.jsonl"]),
    "a command that does not exist": ("", ["rnu", "runs.jsonl"]),
    "a source that is missing": ("", ["run", "absent"]),
    "a log that cannot be opened": ("", ["run", "runs.jsonl", "--log-file", "runs.jsonl/x"]),
    "a retry without a batch": ("", ["retry"]),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("source", ["command line", "environment", "file"])
def test_it_is_run_however_early_the_command_fails(
    fault: str, source: str, read_record: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    line, words = FAULTS[fault]
    words = words or ["run", "runs.jsonl"]
    if source == "command line":
        words = [*words, "--on-failure", COMMAND]
    elif source == "environment":
        monkeypatch.setenv("BATCHPERSIST_ON_FAILURE", COMMAND)
    elif "absent.toml" in words:
        pytest.skip("there is no file to find it in")
    above = f"on-failure = {json.dumps(COMMAND)}\n" if source == "file" else ""
    Path("batchpersist.toml").write_text(f"{above}{line}\n" if line or above else "")
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code in (1, 2, 10)
    assert read_record()[:4] == [["a b", ""], str(result.exit_code), "", ""]


def test_in_a_file_with_a_typo_the_lines_above_it_count(read_record: Callable[[], list[str]]) -> None:
    command = f"on-failure = {json.dumps(COMMAND)}"
    other = f"[profile.n.run]\n{command}\n[other\nsources = ["
    Path("batchpersist.toml").write_text(other)
    assert CliRunner().invoke(cli, ["--profile", "n", "run"]).exit_code == 2
    assert read_record()[1] == "2"
    for text in (f"workers = = 2\n{command}", f"[profile.n.run]\n{command}", f"[retry]\n{command}\n[[["):
        Path("batchpersist.toml").write_text(text)
        assert CliRunner().invoke(cli, ["run", "runs.jsonl", "--workers", "0"]).exit_code == 2
        assert not Path("record.json").exists(), text


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["status", "absent"], ["run", "-n", "absent"], ["run", "-n"]]
)
def test_it_is_not_run_if_nothing_was_to_be_persisted(
    words: list[str], read_record: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHPERSIST_ON_FAILURE", COMMAND)
    CliRunner().invoke(cli, words)
    assert not Path("record.json").exists()


def test_it_is_run_after_a_defect(
    read_record: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_args: object, **_more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("batchpersist.cli.job.run_batch", defect)
    with pytest.raises(ZeroDivisionError):
        invoke("runs.jsonl", "--on-failure", COMMAND)
    assert read_record()[1] == "1"


def test_an_invalid_command_line_is_a_usage_error() -> None:
    assert invoke("runs.jsonl", "--on-failure", "echo 'half").exit_code == 2
    assert invoke("runs.jsonl", "--on-failure", " ").exit_code == 2
