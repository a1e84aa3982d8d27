"""What of the library's log records is printed, and what goes to ``--log-file``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.engine import run

from batchpersist.cli.main import cli
from batchpersist.cli.progress import BarDisplay, LineDisplay, choose_display

NO_CACHE = "there is no cache"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps(run(f"task-{n % 3}", n)) for n in range(9)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines))
    return tmp_path


def invoke(*words: str, **variables: str) -> Result:
    result = CliRunner().invoke(cli, ["run", "runs.jsonl", *words], env=variables, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("words", [(), ("-v",), ("--quiet",)])
def test_debug_lines_are_not_printed_by_default(words: tuple[str, ...]) -> None:
    assert NO_CACHE not in invoke(*words).stderr


def test_debug_lines_are_printed_with_vv_and_name_their_module() -> None:
    result = invoke("-vv")
    assert re.search(rf"^batchpersist\.cache\.store: {NO_CACHE} ", result.stderr, re.MULTILINE)
    assert NO_CACHE not in result.stdout


def test_debug_lines_are_in_the_log_file_however_little_is_printed() -> None:
    assert NO_CACHE not in invoke("--log-file", "night.log", "-q").stderr
    assert re.search(rf"^\S+Z DEBUG {NO_CACHE} ", Path("night.log").read_text(), re.MULTILINE)


@pytest.mark.parametrize("workers", [("-j", "1"), ("-j", "2", "--pool-threshold", "0")])
def test_debug_lines_say_why_a_known_run_is_compared_again(workers: tuple[str, ...]) -> None:
    invoke(*workers)
    invoke(*workers)
    path = Path(".runs/task-1/run-1/manifest.json")
    path.write_bytes(path.read_bytes() + b"\n")
    lines = [line for line in invoke("-vv", *workers).stderr.splitlines() if str(path) in line]
    assert any("is compared, not taken from the cache: " in line for line in lines), lines


@pytest.mark.parametrize(("value", "is_shown"), [("2", True), ("1", False), ("yes", False), ("no", False)])
def test_verbosity_in_the_environment_is_a_count_or_yes_or_no(value: str, is_shown: bool) -> None:
    assert (NO_CACHE in invoke(BATCHPERSIST_VERBOSE=value).stderr) == is_shown


@pytest.mark.parametrize(("value", "is_shown"), [("2", True), ("true", False), ("false", False)])
def test_verbosity_in_a_file_is_a_count_or_a_boolean(value: str, is_shown: bool) -> None:
    Path("batchpersist.toml").write_text(f"verbose = {value}\n")
    assert (NO_CACHE in invoke().stderr) == is_shown


def test_debug_lines_are_not_mixed_with_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    displays = [choose_display("auto", False, False, verbosity) for verbosity in (1, 2)]
    for display in displays:
        display.close()
    assert [type(display) for display in displays] == [BarDisplay, LineDisplay]
