"""Every command prints all its output or exits with 1, in any encoding, and no name forges a line."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from support.engine import run

from batchpersist.cli.main import cli
from batchpersist.cli.progress import BarDisplay
from batchpersist.events import RunFailed
from batchpersist.models import Failure

FULL = "/dev/full"

COMMANDS = (
    *("--help", "--version", "run --help", "locks --help"),
    *("run in", "run in --json", "run in -n", "run in -n --json", "run in -v --progress none"),
    *("validate in", "validate in --json"),
    *("status", "status latest", "status --json", "status latest --json"),
    *("report", "report -o -", *(f"report -f {kind}" for kind in ("json", "html", "junit", "prometheus"))),
    *("report comparison.json", "report comparison.json -f html", "report comparison.json -f json"),
    *("audit", "audit in", "audit in --json", "audit --combined -"),
    *("repair", "repair --json"),
    *("retry", "retry --json", "retry --only invalid"),
    *("compare in --modes paired,grouped -j 1 --rounds 1 --warmup 0 --json",),
    *("generate --runs 3", "generate --runs 3 -o -"),
    *("merge-metrics part-1-of-1.json -o merged.json", "merge-metrics part-1-of-1.json -o - --json"),
    *("locks list", "locks list --json", "locks unlock task-0"),
    *("config show", "config show --json", "config show locks"),
    *("completion bash", "completion zsh", "completion fish"),
)
"""Each prints something that it exists for."""

HOSTILE = "a\nDone: 9 persisted. Nothing failed.\x1b[2J\x9b1m\u202e\u2028\x7f"
"""Names a folder and a source; a line that begins with ``Done: 9`` is forged."""

LOCALE = (
    "run in",
    "validate in",
    "status latest",
    "report",
    "report -f html",
    "audit in",
    "retry --only invalid",
)

DOCUMENTS = ("generate", "report -f", "report comparison.json -f")
"""They are UTF-8 whatever the terminal is."""

CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]")

commands = pytest.mark.parametrize("words", COMMANDS)


PROGRAM = """
import json, os, sys
import jinja2, matplotlib.figure, msgspec, pyarrow.parquet
from batchpersist.cli.main import main

folder, standard_output = sys.argv[1:]
for number, words in enumerate(json.load(sys.stdin)):
    child = os.fork()
    if not child:
        break
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.rename(f"{folder}/{number}.err", f"{folder}/{number}.err.{code}")
else:
    sys.exit()
if standard_output == "gone":
    read, write = os.pipe()
    os.close(read)
else:
    write = os.open(standard_output or f"{folder}/{number}.out", os.O_WRONLY | os.O_CREAT)
os.dup2(write, 1)
os.dup2(os.open(f"{folder}/{number}.err", os.O_WRONLY | os.O_CREAT), 2)
sys.argv = ["batchpersist", *words]
main()
"""
"""Runs many commands, each in a process of its own to the interpreter's end, but not from its start."""


class Done(NamedTuple):
    code: int
    stdout: bytes
    stderr: bytes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with batches, an invalid source, a lock and a comparison, all under hostile names."""
    folder = tmp_path_factory.mktemp("root") / HOSTILE
    (folder / "in").mkdir(parents=True)
    lines = [json.dumps(run(f"task-{n % 3}", n)) for n in range(5)]
    (folder / "in" / f"{HOSTILE}.jsonl").write_text(
        "\n".join([*lines, f'{{"taskId": {json.dumps(HOSTILE)}}}'])
    )
    (folder / "good.jsonl").write_text("\n".join(lines))
    (folder / "batchpersist.toml").write_text(f"[generate]\n[repair]\ntask = [{json.dumps(HOSTILE)}]\n")
    compare = "compare good.jsonl --modes paired,grouped -j 1 --rounds 1 --warmup 0 -o comparison.json -q"
    for words in ("run good.jsonl -q --shard 1/1 --metrics part.json", "run in -q", compare):
        command = [sys.executable, "-m", "batchpersist", *words.split()]
        subprocess.run(command, cwd=folder, check=False)
    (folder / ".runs" / f"{HOSTILE}.lock").write_text("{}")
    (folder / ".runs" / "task-1" / "run-1" / "manifest.json").write_text("{")
    return folder


Try = Callable[..., Mapping[str, Done]]


@pytest.fixture(scope="module")
def tried(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Try:
    """(standard output, commands, **variables) -> what became of each; "": what it printed is kept."""

    @functools.cache
    def results(standard_output: str, commands: tuple[str, ...], **variables: str) -> Mapping[str, Done]:
        folder = tmp_path_factory.mktemp("tried")
        subprocess.run(
            [sys.executable, "-c", PROGRAM, folder, standard_output],
            input=json.dumps([shlex.split(words) for words in commands]).encode(),
            cwd=root,
            env={**os.environ, **variables},
            check=True,
        )
        return {words: _done(folder, number) for number, words in enumerate(commands)}

    return results


def _done(folder: Path, number: int) -> Done:
    (errors,) = folder.glob(f"{number}.err.*")
    printed = folder / f"{number}.out"
    return Done(
        int(errors.suffix[1:]), printed.read_bytes() if printed.exists() else b"", errors.read_bytes()
    )


def test_these_tests_run_every_command() -> None:
    context = cli.make_context("batchpersist", ["run", "x"])
    tried = {words.split()[0] for words in COMMANDS}
    assert set(cli.list_commands(context)) <= tried  # type: ignore[attr-defined]


@commands
def test_lost_output_makes_the_exit_code_1(words: str, tried: Try) -> None:
    done = tried(FULL, COMMANDS)[words]
    assert done.code == 1, done.stderr
    expected = b"Error: standard output could not be written: [ENOSPC] No space left on device\n"
    assert expected in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@commands
def test_a_closed_pipe_is_not_an_error(words: str, tried: Try) -> None:
    done = tried("gone", COMMANDS)[words]
    assert done.code in (0, 3, 5), done.stderr
    assert b"roken" not in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@commands
def test_an_encoding_without_a_character_stops_nothing(words: str, tried: Try) -> None:
    done = tried("", COMMANDS, PYTHONIOENCODING="latin-1")[words]
    assert done.code in (0, 3, 5), done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout


@commands
def test_no_name_steers_the_terminal_or_forges_a_line(words: str, tried: Try) -> None:
    done = tried("", COMMANDS, PYTHONIOENCODING="latin-1")[words]
    assert done.code in (0, 3, 5), done.stderr
    encoding = "utf-8" if words.startswith(DOCUMENTS) else "latin-1"
    for printed in (done.stdout.decode(encoding), done.stderr.decode("latin-1")):
        assert CONTROL.findall(printed) == []
        assert not [line for line in printed.split("\n") if line.startswith("Done: 9")]


@pytest.mark.parametrize("words", LOCALE)
def test_a_locale_without_utf_8_causes_no_traceback(words: str, tried: Try) -> None:
    done = tried("", LOCALE, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")[words]
    assert b"Traceback" not in done.stderr
    if done.code == 2:  # the recorded names of the sources have no spelling there
        assert b"cannot be spelt in this locale's encoding" in done.stderr
    else:
        assert done.code in (0, 3, 5)
        assert done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["report", "x", HOSTILE],
        ["run", f"--{HOSTILE}"],
        ["run", "x", "--workers", HOSTILE],
        ["run", HOSTILE],
        ["report", HOSTILE],
        ["status", HOSTILE],
        ["retry", HOSTILE],
        ["locks", "unlock", HOSTILE],
        ["compare", HOSTILE],
        ["audit", HOSTILE],
        ["validate", HOSTILE],
        ["merge-metrics", HOSTILE, "-o", "x"],
        ["config", "show", HOSTILE],
        [HOSTILE],
        [f"--{HOSTILE}"],
        ["--config", HOSTILE, "run", "x"],
        ["--profile", HOSTILE, "run", "x"],
        ["run", "x", "--on-failure", shlex.quote(HOSTILE)],
        ["run", "batchpersist.toml", "--log-file", HOSTILE],
    ],
)
def test_no_error_message_steers_the_terminal_or_forges_a_line(
    words: list[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    result = CliRunner().invoke(cli, words)
    assert result.exit_code in (2, 10)
    assert CONTROL.findall(result.output) == []
    assert not [line for line in result.stderr.split("\n") if line.startswith("Done: 9")]


def test_a_failure_above_a_bar_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    bar = BarDisplay(verbose=True)
    bar.show(RunFailed("input", Failure("InvalidRunError", HOSTILE, HOSTILE), HOSTILE, 1, HOSTILE, HOSTILE))
    bar.close()
    assert CONTROL.findall(capsys.readouterr().err) == []


def test_a_traceback_has_no_control_characters() -> None:
    program = (
        "import batchpersist.cli.main as m\n"
        f"def fail(self, *_): raise ZeroDivisionError({HOSTILE!r})\n"
        "m.MainGroup.resolve_command = fail\n"
        "m.main()"
    )
    command = [sys.executable, "-c", program, "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError: a" in done.stderr
    assert CONTROL.findall(done.stderr) == []


def test_a_document_is_utf_8_in_any_locale(tried: Try) -> None:
    page = tried("", COMMANDS, PYTHONIOENCODING="latin-1")["report -f html"].stdout
    assert not page.decode("utf-8").isascii()


@pytest.mark.parametrize("words", [[], ["locks"], ["config"]])
def test_a_group_without_a_command_shows_its_help_by_lines(words: list[str]) -> None:
    command = [sys.executable, "-m", "batchpersist", *words]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 2
    assert len((result.stdout + result.stderr).splitlines()) > 5
    assert "\\n" not in result.stdout + result.stderr


def test_a_full_pipe_that_does_not_block_loses_nothing() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    command = [sys.executable, "-m", "batchpersist", "generate", "--runs", "200"]
    with subprocess.Popen(command, stdout=writer) as process:
        os.close(writer)
        time.sleep(0.5)  # it fills the pipe meanwhile
        with open(reader, "rb") as file:
            lines = file.read().splitlines()
    assert process.returncode == 0
    assert len([json.loads(line) for line in lines]) == 200
