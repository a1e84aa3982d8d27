"""Proofs by real faults (docs/reliability.md): the suite runs a short form of them.

``--faults-full`` runs all of it (the environment ``faults`` of tox.ini).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # the suite's helpers: model, contenders


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-full", action="store_true", help="the long form of the fault tests")


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the long form is asked for."""
    return bool(request.config.getoption("--faults-full", default=False))


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """``tool("strace")`` gives the path of a program, or skips the test in capital letters."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"NO {name.upper()}: install it to run this proof")
        return path

    return find


@pytest.fixture(scope="session")
def root_user() -> None:
    """Skips where the test may not mount."""
    if os.geteuid() != 0:
        pytest.skip("NOT ROOT: mounting needs it")
