"""The public interface: names, signatures and commands, compared with the generated files."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import batchpersist
from batchpersist.cli.main import cli

ROOT = Path(__file__).parents[1]
NAMES = [name for name in batchpersist.__all__ if name != "__version__"]


def test_generated_files_are_up_to_date(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "docs" / "make.py", "--into", tmp_path], check=True)
    made = {path.relative_to(tmp_path): path.read_text("utf-8") for path in tmp_path.rglob("*.*")}
    assert len(made) >= 3
    differing = [str(name) for name, text in made.items() if (ROOT / name).read_text("utf-8") != text]
    assert differing == [], "if the change is intended, run `python docs/make.py`"


def test_names_are_unique_and_sorted_for_dir() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert dir(batchpersist) == sorted(batchpersist.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_public_name_and_its_members_have_docstrings(name: str) -> None:
    value = getattr(batchpersist, name)
    assert value.__name__ == name
    assert value.__doc__
    if inspect.isclass(value):
        own = {key: member for key, member in vars(value).items() if not key.startswith("_")}
        bare = [key for key, each in own.items() if isinstance(each, property) or inspect.isroutine(each)]
        assert [key for key in bare if not inspect.getdoc(own[key])] == []


def test_stub_names_the_same() -> None:
    stub = ast.parse(Path(batchpersist.__file__).with_suffix(".pyi").read_text())
    names = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert names == set(NAMES)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = batchpersist.nothing  # type: ignore[attr-defined]


def commands(command: click.Command, path: str = "batchpersist") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, f"{path} {name}")


@pytest.mark.parametrize(("path", "command"), list(commands(cli)), ids=str)
def test_each_command_and_option_has_help(path: str, command: click.Command) -> None:
    assert command.help, path
    context = click.Context(command)
    for param in command.params:
        if isinstance(param, click.Option) and not param.hidden:
            assert param.help, (path, param.opts)
            assert not re.search("RANGE|TEXT|INTEGER|FLOAT", param.make_metavar(context)), (path, param.opts)


def test_man_page_has_no_warnings() -> None:
    page = ROOT / "docs" / "reference" / "batchpersist.1"
    readers = (["man", "--warnings", "-l", page], ["mandoc", "-T", "utf8", "-W", "error", page])
    found = [words for words in readers if shutil.which(str(words[0]))]
    if not found:
        pytest.skip("NEITHER man NOR mandoc IS INSTALLED: the man page is NOT CHECKED")
    for words in found:
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
        result = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
        assert result.stderr == ""
        plain = re.sub(".\b", "", result.stdout)  # bold is overstruck
        assert re.search("^ +-n, --dry-run$", plain, re.MULTILINE)


def test_python_m_is_the_command() -> None:
    words = [sys.executable, "-m", "batchpersist", "run"]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("Usage: batchpersist run [OPTIONS] [SOURCES]...")


def test_classes_in_signatures_are_public() -> None:
    package = Path(batchpersist.__file__).parent
    declared = {
        node.name
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ClassDef)
    }
    shown = "".join((ROOT / "tests" / "public_api.txt").read_text("utf-8").splitlines(keepends=True)[1:])
    signatures = re.sub(r"'[^']*'|^class \w+\(\w+\)|pa\.Table", "", shown, flags=re.MULTILINE)
    named = set(re.findall(r"\b[A-Z]\w+", signatures))
    of_metrics = {"Bytes", "Cause", "Counts", "PassedOver", "Task", "Timing"}  # members of Metrics
    internal = {"Layout", "StateStore", "ManifestWriter"}  # AuditOptions.layout, and two protocols
    assert (named & declared) - set(NAMES) == of_metrics | internal


def test_reports_have_a_one_line_repr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.jsonl").write_text('{"taskId": "t", "runId": "r", "timestamp": "2026-01-01"}\n[]\n')
    preview = batchpersist.preview_batch(["s.jsonl"], batchpersist.BatchOptions())
    assert repr(preview).startswith("Preview(discovered=2, invalid=1, selected=1, tasks=1, shards=1, bytes=")
    report = batchpersist.run_batch(["s.jsonl"])
    figures = "selected=1, persisted=1, unchanged=0, failed=0, invalid=1, exit_code=3"
    assert repr(report) == f"BatchReport({report.metrics.batch_id}: finished, {figures})"
    Path(".runs/t/r/manifest.json").unlink()
    options = batchpersist.AuditOptions(pause_seconds=0)
    audit = batchpersist.audit_root(options)
    assert repr(audit) == "AuditReport(tasks=1, runs=1, counts={'missing-manifest': 1}, exit_code=5)"
    repair = batchpersist.repair_root(batchpersist.RepairOptions(options), dry_run=False)
    figures = "runs=1, findings=1, left=0, failures=0, exit_code=0"
    assert repr(repair) == f"RepairReport(dry_run=False, {figures})"
