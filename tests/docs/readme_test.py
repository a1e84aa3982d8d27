"""The README beyond its examples (docs_test): its two commands, the exit codes, the list of pages."""

from __future__ import annotations

import ast
import inspect
import json
import re
import runpy
from fnmatch import fnmatch

import pytest
from support.pages import PAGES, ROOT

from batchpersist import errors, exit_codes
from batchpersist.errors import BatchPersistError
from batchpersist.exit_codes import ExitCode

README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["main", "test"])
def test_main_commands_are_marked_and_on_one_line(name: str) -> None:
    (block,) = re.findall(rf"^<!-- {name} command -->\n```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert block.count("\n") == 1
    assert block.startswith("python3 -m venv .venv && ")


def test_exit_codes_are_listed_as_the_code_documents_them() -> None:
    listed = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README, re.MULTILINE))
    [declared] = [
        node for node in ast.parse(inspect.getsource(exit_codes)).body if isinstance(node, ast.ClassDef)
    ]
    words = [ast.literal_eval(node.value) for node in declared.body if isinstance(node, ast.Expr)][1:]
    plain = [" ".join(each.split()).rstrip(".") for each in words]
    meanings = [each[0].lower() + each[1:] for each in plain]
    assert listed == dict(zip(map(str, ExitCode), meanings, strict=True))


def test_each_error_has_an_exit_code() -> None:
    kinds = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, Exception)]
    assert BatchPersistError in kinds
    assert all(isinstance(kind.exit_code, ExitCode) for kind in kinds)


def test_exit_code_is_printed_as_its_number() -> None:
    assert (str(ExitCode.STOPPED), f"{ExitCode.STOPPED}", json.dumps(ExitCode.STOPPED)) == ("4", "4", "4")


def test_each_page_is_in_the_contents_of_the_site() -> None:
    """``CONTENTS`` in docs/conf.py: readers of the site do not find a page that is missing there."""
    contents = runpy.run_path(str(ROOT / "docs" / "conf.py"))["CONTENTS"]
    listed = {f"{name}.md" for names in contents.values() for name in names} | {"README.md"}
    assert [page for page in PAGES if not any(fnmatch(page, pattern) for pattern in listed)] == []
    assert [pattern for pattern in listed if not any(fnmatch(page, pattern) for page in PAGES)] == []
