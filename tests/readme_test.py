"""The README's promises that are not examples (docs_test): its two commands, every exit code, every page."""

from __future__ import annotations

import re
import runpy
from fnmatch import fnmatch

import pytest
from pages import PAGES, ROOT

from batchpersist import errors

README = (ROOT / "README.md").read_text("utf-8")
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


def test_every_page_is_in_the_contents_of_the_site() -> None:
    """``CONTENTS`` in docs/conf.py: a page that is not there is not found by its readers."""
    contents = runpy.run_path(str(ROOT / "docs" / "conf.py"))["CONTENTS"]
    listed = {f"{name}.md" for names in contents.values() for name in names} | {"README.md"}
    assert [page for page in PAGES if not any(fnmatch(page, pattern) for pattern in listed)] == []
    assert [pattern for pattern in listed if not any(fnmatch(page, pattern) for page in PAGES)] == []
