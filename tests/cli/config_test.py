"""Options from the environment and from files: which one wins, and errors in them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from batchpersist.cli.config import options_of, read_configuration
from batchpersist.cli.main import cli
from batchpersist.locks.task_lock import TaskLock
from batchpersist.paths import Layout

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = "batchpersist.toml") -> None:
    Path(name).write_text(text)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, words, catch_exceptions=False)


def shown(*words: str, command: str = "run") -> dict[str, tuple[str, str]]:
    result = invoke(*words, "config", "show", command, "--json")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return {row["option"]: (row["value"], row["origin"]) for row in rows}


def test_command_line_overrides_environment_overrides_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown()["out-dir"] == ("out", "default")
    write('out-dir = "a"')
    assert shown()["out-dir"] == ("a", "batchpersist.toml out-dir")
    write('out-dir = "a"\n[run]\nout_dir = "b"')
    assert shown()["out-dir"] == ("b", "batchpersist.toml [run] out_dir")
    write('out-dir = "a"\n[run]\nout-dir = "b"\n[profile.p]\nout-dir = "c"\n[profile.p.run]\nlimit = 3')
    assert shown()["out-dir"] == ("b", "batchpersist.toml [run] out-dir")
    assert shown("--profile", "p")["out-dir"] == ("c", "batchpersist.toml [profile.p] out-dir")
    assert shown("--profile", "p")["limit"] == ("3", "batchpersist.toml [profile.p.run] limit")
    monkeypatch.setenv("BATCHPERSIST_OUT_DIR", "d")
    assert shown("--profile", "p")["out-dir"] == ("d", "environment BATCHPERSIST_OUT_DIR")
    monkeypatch.setenv("BATCHPERSIST_RUN_OUT_DIR", "e")
    assert shown("--profile", "p")["out-dir"] == ("e", "environment BATCHPERSIST_RUN_OUT_DIR")


def test_config_show_prints_what_a_batch_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        '[run]\nsources = ["runs.jsonl"]\nout-dir = "a"\nlock-attempts = 2\nsince = 2026-01-02\nquiet = true'
    )
    monkeypatch.setenv("BATCHPERSIST_LOCK_ATTEMPTS", "3")
    write('{"taskId": "t", "runId": "r", "timestamp": "2026-01-03"}\n', "runs.jsonl")
    assert invoke("run", "--runs-dir", "r").output == ""
    config = json.loads(Path("a/metrics.json").read_bytes())["config"]
    assert (config["lock_attempts"], config["since"], config["runs_dir"]) == (
        3,
        "2026-01-02T00:00:00.000Z",
        "r",
    )
    assert Path("r/t/r/manifest.json").exists()


def test_a_pyproject_and_a_named_file() -> None:
    write('[tool.batchpersist]\nout-dir = "a"', "pyproject.toml")
    assert shown()["out-dir"] == ("a", "pyproject.toml out-dir")
    write('out-dir = "b"', "other.toml")
    assert shown("--config", "other.toml")["out-dir"] == ("b", "other.toml out-dir")
    assert shown("--config", "pyproject.toml")["out-dir"] == ("a", "pyproject.toml out-dir")
    write('out-dir = "c"')
    assert shown()["out-dir"] == ("c", "batchpersist.toml out-dir")


def test_a_pyproject_without_our_table_is_ignored() -> None:
    write("[tool.other]\nout-dir = 1", "pyproject.toml")
    assert read_configuration(None, None).scopes == ()


def test_the_top_of_a_file_may_hold_options_of_other_commands() -> None:
    write('seed = 4\nout-dir = "a"')
    assert shown()["out-dir"][0] == "a"
    assert shown(command="generate")["seed"][0] == "4"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("workers = [", r"batchpersist\.toml: .*\(at .*\)"),
        ("out-dri = 1", r"batchpersist\.toml: no command has an option 'out-dri'"),
        ("[run]\nseed = 1", r"batchpersist\.toml \[run\]: `batchpersist run` has no option 'seed'"),
        ("[ran]\nseed = 1", r"batchpersist\.toml: there is no command for the table \[ran\]"),
        (
            "[profile.p.ran]\nx = 1",
            r"batchpersist\.toml: there is no command for the table \[profile\.p\.ran\]",
        ),
        (
            "[locks.unlock]\nruns-dir = 'x'",
            r"batchpersist\.toml: there is no table \[locks\.unlock\], only \[locks\] with options",
        ),
        ("[profile.p.run.deep]\nx = 1", r"there is no table \[profile\.p\.run\.deep\]"),
        ("workers = 0", r"batchpersist\.toml workers: 0 is not in the range x>=1"),
        ('[run]\nquiet = "maybe"', r"batchpersist\.toml \[run\] quiet: .*'maybe'"),
        ("[run]\nworkers = [1, 2]", r"batchpersist\.toml \[run\] workers: one value is needed, not a list"),
        ("[run]\ntask = [[1]]", r"batchpersist\.toml \[run\] task: a single value is needed"),
        ("", r"batchpersist\.toml has no profile 'p'; it has none"),
    ],
)
def test_a_wrong_setting_is_an_error_before_anything_is_done(text: str, complaint: str) -> None:
    write(text)
    profile = () if "profile" not in text and text else ("--profile", "p")
    result = invoke(*profile, "run", "runs.jsonl")
    assert result.exit_code == 2
    assert re.search(complaint, result.stderr), result.stderr
    assert [path.name for path in Path.cwd().iterdir()] == ["batchpersist.toml"]


def test_a_named_file_that_is_missing_or_not_utf_8_is_an_error() -> None:
    assert invoke("--config", "none.toml", "run", "x").exit_code == 2
    Path("batchpersist.toml").write_bytes(b'out-dir = "\xff"')
    result = invoke("run", "x")
    assert (result.exit_code, result.stderr[:25]) == (2, "Error: batchpersist.toml:")


def test_the_example_of_the_docs_is_a_configuration() -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```$", DOCS.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    write(example)
    options = shown("--profile", "nightly")
    assert options["workers"] == ("4", "batchpersist.toml [profile.nightly.run] workers")
    assert options["sources"][0] == "/var/log/agents"


def test_config_show_prints_a_table() -> None:
    lines = invoke("config", "show", "generate").stdout.splitlines()
    assert re.split("  +", lines[0]) == ["option", "value", "from"]
    assert any(re.split("  +", line) == ["seed", "0", "default"] for line in lines)


def commands() -> dict[str, click.Command]:
    context = cli.make_context("batchpersist", ["run", "x"])
    assert isinstance(cli, click.Group)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


SAMPLES = ("1", "1/2", "2026-01-31", "5m", "10%", "x", ".")


def sample(param: click.Parameter) -> str:
    """A word that the option takes."""
    if isinstance(param.type, click.Choice):
        return str(param.type.choices[0])
    own = param.default if isinstance(param.default, tuple) else ()
    for word in (*SAMPLES, *map(str, own)):
        try:
            param.type.convert(word, param, None)
        except click.BadParameter:
            continue
        return word
    raise AssertionError(f"nothing fits {param.name}")


@pytest.mark.parametrize("name", commands())
def test_every_option_of_every_command_can_come_from_the_environment_and_from_a_file(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {
        key: param
        for key, param in options_of(commands()[name]).items()
        if isinstance(param, click.Option) and not param.hidden
    }
    words = {key: sample(param) for key, param in options.items()}
    lines = [f"{key} = {'true' if options[key].is_flag else json.dumps(word)}" for key, word in words.items()]
    write("\n".join([f"[{name}]", *lines]))
    told = shown(command=name)
    assert {key: told[key][1] for key in words} == {key: f"batchpersist.toml [{name}] {key}" for key in words}
    Path("batchpersist.toml").unlink()
    variables = {key: f"BATCHPERSIST_{name}_{key}".upper().replace("-", "_") for key in words}
    for key, variable in variables.items():
        monkeypatch.setenv(variable, words[key])
    told = shown(command=name)
    assert {key: told[key][1] for key in words} == {
        key: f"environment {variable}" for key, variable in variables.items()
    }


def test_subcommands_share_a_table_and_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("r").mkdir()
    write('[locks]\nruns-dir = "r"')
    assert invoke("locks", "list").stdout == "0 locks in r, 0 stale.\n"
    assert invoke("locks", "unlock", "task").stdout == "Task task is not locked.\n"
    monkeypatch.setenv("BATCHPERSIST_LOCKS_RUNS_DIR", "absent")
    assert invoke("locks", "list").exit_code == 10


def test_force_of_other_commands_does_not_unlock_a_live_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHPERSIST_FORCE", "1")
    write("force = true")
    with TaskLock(Layout("out", ".runs"), "task"):
        assert invoke("locks", "unlock", "task").exit_code == 11


def test_a_byte_order_mark_at_the_start_of_the_file_is_ignored() -> None:
    Path("batchpersist.toml").write_bytes(b'\xef\xbb\xbf[run]\nout-dir = "b"\n')
    assert shown()["out-dir"] == ("b", "batchpersist.toml [run] out-dir")


def test_a_file_in_utf_16_is_named_as_such() -> None:
    Path("batchpersist.toml").write_bytes('[run]\nout-dir = "b"\n'.encode("utf-16"))
    result = invoke("run", "runs.jsonl")
    assert result.exit_code == 2
    assert "batchpersist.toml: it is not in UTF-8 (in UTF-16, perhaps); save it as UTF-8" in result.output
