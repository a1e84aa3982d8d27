"""The README's promises that are not examples (docs_test): its two commands, and every exit code there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchpersist import errors

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
CODES = {int(code) for code in re.findall(r"^\| (\d+) \| ", README, re.MULTILINE)}


@pytest.mark.parametrize("name", ["main", "test"])
def test_its_two_commands_are_marked_and_stand_on_a_line(name: str) -> None:
    (block,) = re.findall(rf"^<!-- {name} command -->\n```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert block.count("\n") == 1
    assert block.startswith("python3 -m venv .venv && ")


def test_the_exit_codes_of_all_errors_are_listed() -> None:
    of_errors = {kind.exit_code for kind in vars(errors).values() if hasattr(kind, "exit_code")}
    assert of_errors >= {1, 2, 10, 11}
    assert of_errors | {0, 3, 4, 130, 143} <= CODES
