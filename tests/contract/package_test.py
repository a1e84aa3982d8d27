"""The published orchestrator that the tests use is the pinned one, and installed whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import orchestrator

LOCK = json.loads((orchestrator.PINNED / "package-lock.json").read_bytes())
DEPENDENCIES = {name: entry for name, entry in LOCK["packages"].items() if name}


def test_every_package_is_pinned_by_version_and_hash_and_by_no_registry() -> None:
    assert LOCK["packages"][""]["dependencies"] == {orchestrator.NAME: "0.2.1"}
    assert DEPENDENCIES[f"node_modules/{orchestrator.NAME}"]["version"] == "0.2.1"
    for entry in DEPENDENCIES.values():
        assert entry["version"][0].isdigit()
        assert entry["integrity"].startswith("sha512-")
        assert "resolved" not in entry


def test_the_installed_package_is_the_pinned_one(orchestrator_package: Path) -> None:
    package = json.loads((orchestrator_package / "package.json").read_bytes())
    assert (package["name"], package["version"]) == (orchestrator.NAME, "0.2.1")


FAKE_NPM = """#!/bin/sh
# Installs slowly, and counts how often.
echo once >> "$COUNT"
mkdir -p node_modules/{name}
sleep 0.5
echo "$NPM_WORDS" >&2
echo '{{}}' > node_modules/{name}/package.json
exit ${{NPM_EXIT:-0}}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], subprocess.Popen[str]]:
    """Begins an installation by a slow npm, in a process of its own, which prints the package's folder."""
    programs = tmp_path / "bin"
    programs.mkdir()
    npm = programs / "npm"
    npm.write_text(FAKE_NPM.format(name=orchestrator.NAME))
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    program = (
        f"import sys; sys.path.insert(0, {str(Path(orchestrator.__file__).parent)!r})\n"
        f"import pathlib, orchestrator\n"
        f"print(orchestrator.installed(pathlib.Path({str(tmp_path / 'cache')!r})))"
    )
    command = [sys.executable, "-c", program]
    return lambda: subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_that_begin_at_once_share_one_installation(
    install: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    first, second = install(), install()
    folders = {process.communicate()[0].strip() for process in (first, second)}
    (folder,) = folders
    assert (Path(folder) / "package.json").exists()
    assert (tmp_path / "count").read_text() == "once\n"


def test_a_failed_installation_leaves_nothing_and_shows_npms_words(
    install: Callable[[], subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_EXIT", "7")
    _, errors = install().communicate()
    assert "npm ci --ignore-scripts --no-audit --no-fund failed" in errors
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]
    monkeypatch.delenv("NPM_EXIT")
    folder, _ = install().communicate()
    assert (Path(folder.strip()) / "package.json").exists()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("npm error code ECONNREFUSED", "RegistryUnreachableError"),
        ("npm error code EINTEGRITY", "RuntimeError"),
    ],
)
def test_only_a_registry_that_does_not_answer_is_no_failure(
    install: Callable[[], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch, words: str, kind: str
) -> None:
    monkeypatch.setenv("NPM_EXIT", "1")
    monkeypatch.setenv("NPM_WORDS", words)
    _, errors = install().communicate()
    assert f"\n{kind}: " in errors or f"orchestrator.{kind}: " in errors
    assert words in errors


def test_without_node_or_npm_the_reason_for_skipping_is_in_capital_letters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = orchestrator.missing_tools()
    assert reason == reason.upper()
    assert reason.startswith("NO NODE AND NO NPM: ")


def test_a_node_that_is_too_old_is_a_reason_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, version in ("node", "v18.20.4"), ("npm", "9"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {version}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert orchestrator.missing_tools().startswith("NODE.JS V18.20.4 IS TOO OLD: ")
