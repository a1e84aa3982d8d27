"""No id is accepted that the published orchestrator refuses."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from batchpersist.contract.identifiers import check_run_id, check_task_id
from batchpersist.errors import UnsafeIdentifierError

PROGRAM = Path(__file__).with_name("safe_ids.mjs")
PIECES = (
    *("CON", "prn", "Aux", "nul", "COM1", "lpt9", "CONIN$", "conout$", "con", "lpt", "com", "in$"),
    *("\u0131", "\u0130", "\u017f", "\u212a", "\ufb01", "\xdf", "\xb9", "\xb2", "\u2074", "\u0661", "\uff11"),
    *(".", "..", " ", "\t", "\xa0", "\u2003", "\ufeff", "\x85", "\x1c", "\u200b", "\u180e", "\u3000"),
    *(
        "/",
        "\\",
        ":",
        "*",
        '"',
        "\x00",
        "\x1f",
        "\x7f",
        "\x80",
        "-",
        "txt",
        "a",
        "task",
        ".lock",
        ".lock.acquire",
    ),
    *("\ud800", "\U0001f600", "x" * 100),
)
"""Device names, what changes by case or is white space to somebody, and what is never allowed."""


def accepts(check: Callable[[str], None], value: str) -> bool:
    try:
        check(value)
    except UnsafeIdentifierError:
        return False
    return True


@pytest.fixture(scope="module")
def judged(orchestrator_package: Path, full: bool) -> dict[str, bool]:
    """Ids, and whether the orchestrator accepts them."""
    source = random.Random(1)
    ids = {""}
    for _ in range(500_000 if full else 20_000):
        pieces = [
            source.choice(PIECES) if source.random() < 0.9 else chr(source.randrange(sys.maxunicode + 1))
            for _ in range(source.randint(1, 4))
        ]
        ids.add("".join(pieces))
    # Every character there is, where it could be taken for white space or for a letter of a device's name.
    for code in range(0x10000):
        ids |= {f"con{chr(code)}.x", f"{chr(code)}ul", f"conout{chr(code)}", f"con{chr(code)}n$"}
    command = ["node", str(PROGRAM), str(orchestrator_package)]
    listed = sorted(ids)
    done = subprocess.run(command, input=json.dumps(listed).encode(), capture_output=True, check=True)
    return dict(zip(listed, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("check", [check_task_id, check_run_id])
def test_nothing_is_accepted_that_the_orchestrator_refuses(
    check: Callable[[str], None], judged: dict[str, bool]
) -> None:
    refused = [value for value, accepted in judged.items() if not accepted]
    assert len(refused) > 1000
    assert [ascii(value) for value in refused if accepts(check, value)] == []


def test_what_it_accepts_is_refused_only_for_the_reasons_that_the_docs_give(judged: dict[str, bool]) -> None:
    unexplained = []
    for value, accepted in judged.items():
        documented = (
            re.search("[\ud800-\udfff]", value)
            or re.match(r"(?i:com|lpt)[\xb9\xb2\xb3]\s*(\.|\Z)", value.replace("\ufeff", " "))
            or value.lower().endswith((".lock", ".lock.acquire"))
            or len(value.encode()) > 242
        )
        if accepted and not documented and not accepts(check_task_id, value):
            unexplained.append(ascii(value))
    assert unexplained == []
