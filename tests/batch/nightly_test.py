"""A batch that nobody watches: its log, its niceness, the command for failures, the time it may take."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from support.engine import run, tree

from batchpersist import __version__
from batchpersist.batch.run import run_batch
from batchpersist.cli.logfile import log_to
from batchpersist.cli.main import cli
from batchpersist.cli.params import DurationType
from batchpersist.events import Event, Progress
from batchpersist.locks.batch_lock import BatchLock
from batchpersist.options import BatchOptions, FailurePolicy
from batchpersist.paths import Layout

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps(run(f"task-{n % 3}", n)) for n in range(9)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, ["run", *words], catch_exceptions=False)


# --max-duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("2h", 7200),
        ("1h30m", 5400),
        ("45", 45),
        ("1.5h", 5400),
        ("1d2h3m4s", 93_784),
        ("0.5s", 0.5),
    ],
)
def test_time_spans(text: str, seconds: float) -> None:
    assert DurationType().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "h", "2x", "m2", "-1", "0", "0s", "nan"])
def test_what_is_no_time_span_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="time"):
        DurationType().convert(text, None, None)


def test_a_batch_out_of_time_is_continued_by_the_next(folder: Path) -> None:
    runs = [run(f"task-{n % 40:02d}", n) for n in range(1200)]
    Path("many.jsonl").write_text("".join(json.dumps(item) + "\n" for item in runs))
    watched = FailurePolicy(limit=100, percent=True)  # makes for many small shards
    seen: list[Event] = []

    def watch(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Progress) and event.phase == "settle":
            time.sleep(1)

    first = run_batch(
        ["many.jsonl"], BatchOptions(failure_policy=watched, max_duration_seconds=0.9), on_event=watch
    )
    assert (first.state, first.exit_code) == ("timed_out", 12)
    assert (first.metrics.state, first.metrics.interrupted) == ("timed_out", False)
    settled = first.metrics.counts.both_ok
    assert len([event for event in seen if isinstance(event, Progress) and event.phase == "settle"]) <= 1
    second = run_batch(["many.jsonl"], BatchOptions(failure_policy=watched))
    assert (second.state, second.metrics.parts) == ("finished", 2)
    assert second.metrics.counts.resumed == settled
    assert second.metrics.counts.both_ok == 1200
    run_batch(["many.jsonl"], BatchOptions(out_dir="out2", runs_dir="runs2"))
    assert tree(folder / ".runs") == tree(folder / "runs2")


def test_time_spent_waiting_for_another_batch_counts() -> None:
    with BatchLock(Layout("out", ".runs"), "another"):
        result = invoke("runs.jsonl", "--wait", "3600", "--max-duration", "0.3s")
    assert result.exit_code == 11


# --log-file


def log_lines(name: str = "night.log") -> list[str]:
    """All lines but the debug lines, without their times."""
    lines = Path(name).read_text("utf-8").splitlines()
    assert all(re.match(rf"{STAMP} (DEBUG|INFO|WARNING|ERROR) ", line) for line in lines), lines
    return [text for text in (line.split(" ", 1)[1] for line in lines) if not text.startswith("DEBUG ")]


def test_the_log_tells_of_start_failures_and_end() -> None:
    Path("broken.jsonl").write_text("no json\n")
    assert invoke("runs.jsonl", "broken.jsonl", "--log-file", "night.log", "-q").exit_code == 3
    lines = log_lines()
    words = "batchpersist run runs.jsonl broken.jsonl --log-file night.log -q"
    assert lines[0] == f"INFO batchpersist {__version__}, process {os.getpid()}: {words}"
    assert re.match(r"INFO batch \d{8}T\w+-\w+ in /", lines[1])
    assert lines[2].startswith("ERROR broken.jsonl:1: input: not valid JSON")
    assert lines[-2].startswith("ERROR Done: 9 persisted, 1 invalid.")
    assert lines[-1] == "ERROR exit code 3"
    assert invoke("absent", "--log-file", "night.log").exit_code == 10
    assert log_lines()[len(lines) + 1 :] == ["ERROR source not found: absent", "ERROR exit code 10"]


@pytest.mark.parametrize(
    ("words", "level", "code"),
    [(("-q",), "INFO", 0), (("--max-duration", "0.000001s"), "WARNING", 12), (("--fail-fast",), "ERROR", 4)],
)
def test_the_end_is_logged_as_serious_as_its_exit_code(words: tuple[str, ...], level: str, code: int) -> None:
    if code == 4:
        Path("runs.jsonl").write_text("no json\n")
    assert invoke("runs.jsonl", "--log-file", "night.log", *words).exit_code == code
    assert log_lines()[-1] == f"{level} exit code {code}"
    assert log_lines()[-2].startswith(f"{level} ")


def test_the_log_has_the_whole_command_line_in_one_line(folder: Path) -> None:
    name = "a\nb \x1b[2J.jsonl"
    (folder / "runs.jsonl").rename(folder / name)
    command = [sys.executable, "-m", "batchpersist", "--profile", "p", "run", name, "--log-file", "night.log"]
    Path("batchpersist.toml").write_text("[profile.p]")
    subprocess.run(command, check=True, capture_output=True)
    line = log_lines()[0]
    assert line.endswith(r": batchpersist --profile p run 'a\nb \x1b[2J.jsonl' --log-file night.log")


def test_a_dry_run_writes_no_log() -> None:
    assert invoke("runs.jsonl", "-n", "--log-file", "night.log").exit_code == 0
    assert not Path("night.log").exists()


def test_a_log_that_cannot_be_opened_is_an_error_before_anything_is_done() -> None:
    result = invoke("runs.jsonl", "--log-file", "runs.jsonl/night.log")
    assert result.exit_code == 1
    assert "runs.jsonl/night.log" in result.stderr
    assert not Path("out").exists()


def test_the_log_s_folder_is_made() -> None:
    assert invoke("runs.jsonl", "--log-file", "logs/of/night.log").exit_code == 0
    assert log_lines("logs/of/night.log")[-1] == "INFO exit code 0"


def test_a_log_with_missing_lines_stops_nothing_and_makes_the_exit_code_1() -> None:
    result = invoke("runs.jsonl", "--log-file", "/dev/full")
    assert (result.exit_code, Path("out/metrics.json").exists()) == (1, True)
    assert (
        "Error: the log could not be written: [ENOSPC] No space left on device: /dev/full\n" in result.stderr
    )


def test_a_rotated_log_goes_on_in_a_new_file() -> None:
    with log_to("night.log") as log:
        log.info("before")
        os.rename("night.log", "night.log.1")
        log.info("after")
    assert (log_lines("night.log.1"), log_lines()) == (["INFO before"], ["INFO after"])


def test_a_log_that_can_no_longer_be_written_stops_nothing() -> None:
    Path("logs").mkdir()
    with log_to("logs/night.log") as log:
        os.rename("logs", "gone")
        log.info("to nobody")
    with log_to("/dev/full") as log:
        log.info("to nobody")


def test_nobody_writes_lines_of_another_s_making() -> None:
    with log_to("night.log") as log:
        log.error("a.jsonl\n2026-01-01T00:00:00.000Z INFO all is well\r\x1b[2J\u2028é\udcff")
    (line,) = Path("night.log").read_text("utf-8").split("\n")[:-1]
    assert r"a.jsonl\n2026" in line
    assert line.endswith(r"\r\x1b[2J\u2028é\xff")


def test_the_library_s_warnings_are_in_the_log_and_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with log_to("night.log"):
        logging.getLogger("batchpersist.locks.task_lock").warning("task lock was lost while held: %s", "x")
    assert log_lines() == ["WARNING task lock was lost while held: x"]
    assert "lost while held" in capsys.readouterr().err
    assert not logging.getLogger("batchpersist").handlers


def test_a_warning_without_a_log_has_no_control_characters_either(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to(None):
        logging.getLogger("batchpersist.locks.task_lock").warning("lost: %s", "a\nb\x1b[2J")
    assert capsys.readouterr().err == r"lost: a\nb\x1b[2J" + "\n"


# --on-failure


@pytest.fixture
def teller(folder: Path) -> Callable[[], list[str]]:
    """Writes down what it is told, by ``tell``; returns what that was."""
    script = """
import json, os, sys
names = ("EXIT_CODE", "METRICS", "BATCH", "ON_FAILURE", "RUN_ON_FAILURE")
told = [sys.argv[1:], *(os.environ.get("BATCHPERSIST_" + name) for name in names)]
json.dump(told, open("told.json", "w"))
"""
    (folder / "tell me.py").write_text(script)

    def told() -> list[str]:
        content: list[str] = json.loads(Path("told.json").read_text())
        Path("told.json").unlink()
        return content

    return told


COMMAND = shlex.join([sys.executable, "tell me.py", "a b"])


def test_the_command_for_failures_is_told_which_batch_and_where_its_metrics_are(
    folder: Path, teller: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHPERSIST_ON_FAILURE", COMMAND)
    with Path("runs.jsonl").open("a") as file:
        file.write("no json")
    assert invoke("runs.jsonl").exit_code == 3
    words, code, metrics, batch, itself, itself_too = teller()
    assert words == ["a b", str(folder / "out/metrics.json")]
    assert (code, metrics) == ("3", words[1])
    assert batch == json.loads(Path(metrics).read_bytes())["batch_id"]
    assert (itself, itself_too) == (None, None)


def test_it_is_not_run_when_all_is_well_nor_by_a_dry_run(teller: Callable[[], list[str]]) -> None:
    assert invoke("runs.jsonl", "--on-failure", COMMAND).exit_code == 0
    Path("broken.jsonl").write_text("no json\n")
    assert invoke("broken.jsonl", "--dry-run", "--on-failure", COMMAND).exit_code == 3
    assert not Path("told.json").exists()


def test_it_is_run_when_the_batch_could_not_even_begin(teller: Callable[[], list[str]]) -> None:
    assert invoke("absent", "--on-failure", COMMAND).exit_code == 10
    assert teller()[:4] == [["a b", ""], "10", "", ""]
    with BatchLock(Layout("out", ".runs"), "another"):
        assert invoke("runs.jsonl", "--on-failure", COMMAND).exit_code == 11
    assert teller()[1] == "11"
    assert invoke("runs.jsonl", "--out-dir", "x", "--runs-dir", "x", "--on-failure", COMMAND).exit_code == 2
    assert teller()[1] == "2"


@pytest.mark.parametrize(
    ("command", "complaint"),
    [("false", "itself ended with 1: false"), ("no-such-command x", "could not be run: [ENOENT]")],
)
def test_its_own_failure_is_told_and_changes_nothing(command: str, complaint: str) -> None:
    result = invoke("absent", "--on-failure", command, "--log-file", "night.log")
    assert result.exit_code == 10
    assert complaint in result.stderr
    assert complaint in log_lines()[-1]


FAULTS = {
    "a typo in the file": ("workers = = 2", []),
    "an option that is none in the file": ("worker = 2", []),
    "a table that is none in the file": ("[rnu]", []),
    "a value that is none in the file": ("workers = 0", []),
    "a profile that is none": ("", ["--profile", "nightyl", "run", "runs.jsonl"]),
    "a file that is not there": ("", ["--config", "absent.toml", "run", "runs.jsonl"]),
    "an option that is none": ("", ["run", "runs.jsonl", "--worker", "2"]),
    "a value that is none": ("", ["run", "runs.jsonl", "--workers", "many"]),
    "no sources": ("", ["run"]),
    "a global option that is none": ("", ["--porfile", "nightly", "run", "runs.jsonl"]),
    "a command that is none": ("", ["rnu", "runs.jsonl"]),
    "a source that is missing": ("", ["run", "absent"]),
    "a log that cannot be opened": ("", ["run", "runs.jsonl", "--log-file", "runs.jsonl/x"]),
    "a retry without a batch": ("", ["retry"]),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("source", ["command line", "environment", "file"])
def test_the_command_for_failures_runs_however_early_it_fails(
    fault: str, source: str, teller: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
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
    assert teller()[:4] == [["a b", ""], str(result.exit_code), "", ""]


def test_of_a_file_with_a_typo_the_lines_above_it_count(teller: Callable[[], list[str]]) -> None:
    command = f"on-failure = {json.dumps(COMMAND)}"
    other = f"[profile.n.run]\n{command}\n[other\nsources = ["
    Path("batchpersist.toml").write_text(other)
    assert CliRunner().invoke(cli, ["--profile", "n", "run"]).exit_code == 2
    assert teller()[1] == "2"
    for text in (f"workers = = 2\n{command}", f"[profile.n.run]\n{command}", f"[retry]\n{command}\n[[["):
        Path("batchpersist.toml").write_text(text)
        assert CliRunner().invoke(cli, ["run", "runs.jsonl", "--workers", "0"]).exit_code == 2
        assert not Path("told.json").exists(), text


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["status", "absent"], ["run", "-n", "absent"], ["run", "-n"]]
)
def test_it_is_not_run_where_nothing_was_to_be_persisted(
    words: list[str], teller: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHPERSIST_ON_FAILURE", COMMAND)
    CliRunner().invoke(cli, words)
    assert not Path("told.json").exists()


def test_it_is_run_after_a_defect(teller: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_args: object, **_more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("batchpersist.cli.job.run_batch", defect)
    with pytest.raises(ZeroDivisionError):
        invoke("runs.jsonl", "--on-failure", COMMAND)
    assert teller()[1] == "1"


def test_what_is_no_command_line_is_wrong_usage() -> None:
    assert invoke("runs.jsonl", "--on-failure", "echo 'half").exit_code == 2
    assert invoke("runs.jsonl", "--on-failure", " ").exit_code == 2
