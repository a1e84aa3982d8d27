"""The README's promises: what it shows is what is printed, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from batchpersist.cli.main import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SHOWN = re.findall(r"<!-- shows: ([^\n]+) -->\n```text\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"batchpersist ((?:run|generate) .*?)(?: +#.*)?$", README, re.MULTILINE)


@pytest.fixture(autouse=True)
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something like a fresh clone, as far as the commands look into it."""
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    monkeypatch.chdir(tmp_path)


def without_times(text: str) -> str:
    return re.sub(r"in [\d.]+ s \([\d,]+ runs/s\)", "in N s", text)


@pytest.mark.parametrize(("command", "shown"), SHOWN)
def test_what_is_shown_is_what_is_printed(command: str, shown: str) -> None:
    result = CliRunner().invoke(cli, shlex.split(command), catch_exceptions=False)
    assert without_times(result.stdout) == without_times(shown)


def test_something_is_shown() -> None:
    assert len(SHOWN) >= 3
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_exists(command: str) -> None:
    name, *words = shlex.split(command.partition(" | ")[0])
    declared = CliRunner().invoke(cli, [name, "--help"]).stdout
    for option in (word for word in words if word.startswith("-") and word != "-"):
        assert re.search(rf"(^|[ ,]){re.escape(option)}\b", declared), option


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
