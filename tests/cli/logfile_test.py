"""``--log-file`` and ``-v``: what a log has, and which of the library's records are printed."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.engine import run

from batchpersist import __version__
from batchpersist.cli.logfile import log_to
from batchpersist.cli.main import cli
from batchpersist.cli.progress import BarDisplay, LineDisplay, choose_display

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
NO_CACHE = "there is no cache"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps(run(f"task-{n % 3}", n)) for n in range(9)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def invoke(*words: str, **variables: str) -> Result:
    return CliRunner().invoke(cli, ["run", *words], env=variables, catch_exceptions=False)


def log_lines(name: str = "night.log") -> list[str]:
    """All lines, without their times."""
    lines = Path(name).read_text("utf-8").splitlines()
    assert all(re.match(rf"{STAMP} (INFO|WARNING|ERROR) ", line) for line in lines), lines
    return [line.split(" ", 1)[1] for line in lines]


def test_the_log_has_start_failures_and_end() -> None:
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


def test_the_folder_of_the_log_is_created() -> None:
    assert invoke("runs.jsonl", "--log-file", "logs/of/night.log").exit_code == 0
    assert log_lines("logs/of/night.log")[-1] == "INFO exit code 0"


def test_a_log_with_missing_lines_stops_nothing_and_makes_the_exit_code_1() -> None:
    result = invoke("runs.jsonl", "--log-file", "/dev/full")
    assert (result.exit_code, Path("out/metrics.json").exists()) == (1, True)
    assert (
        "Error: the log could not be written: [ENOSPC] No space left on device: /dev/full\n" in result.stderr
    )


def test_after_a_rotation_the_log_continues_in_a_new_file() -> None:
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


def test_no_name_forges_a_line_of_the_log() -> None:
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


def test_a_printed_warning_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to(None):
        logging.getLogger("batchpersist.locks.task_lock").warning("lost: %s", "a\nb\x1b[2J")
    assert capsys.readouterr().err == r"lost: a\nb\x1b[2J" + "\n"


@pytest.mark.parametrize("words", [(), ("-v",), ("--quiet",)])
def test_debug_lines_are_not_printed_by_default(words: tuple[str, ...]) -> None:
    assert NO_CACHE not in invoke("runs.jsonl", *words).stderr


def test_debug_lines_are_printed_with_vv_and_name_their_module() -> None:
    result = invoke("runs.jsonl", "-vv")
    assert re.search(rf"^batchpersist\.cache\.store: {NO_CACHE} ", result.stderr, re.MULTILINE)
    assert NO_CACHE not in result.stdout


def test_debug_lines_are_in_the_log_file_with_vv_only() -> None:
    invoke("runs.jsonl", "--log-file", "night.log")
    assert " DEBUG " not in Path("night.log").read_text()
    shutil.rmtree(".runs")
    invoke("runs.jsonl", "--log-file", "night.log", "-q", "-vv")
    assert re.search(rf"^\S+Z DEBUG {NO_CACHE} ", Path("night.log").read_text(), re.MULTILINE)


@pytest.mark.parametrize("workers", [("-j", "1"), ("-j", "2", "--pool-threshold", "0")])
def test_debug_lines_say_why_a_known_run_is_compared_again(workers: tuple[str, ...]) -> None:
    invoke("runs.jsonl", *workers)
    invoke("runs.jsonl", *workers)
    path = Path(".runs/task-1/run-1/manifest.json")
    path.write_bytes(path.read_bytes() + b"\n")
    lines = [line for line in invoke("runs.jsonl", "-vv", *workers).stderr.splitlines() if str(path) in line]
    assert any("is compared, not taken from the cache: " in line for line in lines), lines


@pytest.mark.parametrize(("value", "is_shown"), [("2", True), ("1", False), ("yes", False), ("no", False)])
def test_verbosity_in_the_environment_is_a_count_or_yes_or_no(value: str, is_shown: bool) -> None:
    assert (NO_CACHE in invoke("runs.jsonl", BATCHPERSIST_VERBOSE=value).stderr) == is_shown


@pytest.mark.parametrize(("value", "is_shown"), [("2", True), ("true", False), ("false", False)])
def test_verbosity_in_a_file_is_a_count_or_a_boolean(value: str, is_shown: bool) -> None:
    Path("batchpersist.toml").write_text(f"verbose = {value}\n")
    assert (NO_CACHE in invoke("runs.jsonl").stderr) == is_shown


def test_debug_lines_are_not_mixed_with_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    displays = [choose_display("auto", False, False, verbosity) for verbosity in (1, 2)]
    for display in displays:
        display.close()
    assert [type(display) for display in displays] == [BarDisplay, LineDisplay]
