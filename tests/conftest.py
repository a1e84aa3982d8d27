"""Options, fixtures and settings of all tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from support.orchestrator import UNTRIED, RegistryUnreachableError, installed, missing_tools, user_cache

# No deadline for an example: the machine may be busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_TALLY = pytest.StashKey[dict[str, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-full", action="store_true", help="the long form of the proofs")


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether to run the long form."""
    return bool(request.config.getoption("--faults-full"))


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
def orchestrator_package() -> Path:
    """The folder of the published orchestrator. Skips in capital letters without Node.js, npm and network."""
    if reason := missing_tools():
        pytest.skip(reason)
    try:
        return installed(user_cache())
    except RegistryUnreachableError:
        pytest.skip(f"NPM CANNOT REACH ITS REGISTRY: {UNTRIED}")


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Callable[[str, int], None]:
    """``tally("kill, in-process", 154)``: count points of the fault tests, for the summary at the end."""
    counts = request.config.stash.setdefault(_TALLY, {})

    def add(what: str, points: int) -> None:
        counts[what] = counts.get(what, 0) + points

    return add


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the counts of a process of pytest-xdist."""
    counts = node.config.stash.setdefault(_TALLY, {})
    for what, points in node.workeroutput.get("faults", {}).items():
        counts[what] = counts.get(what, 0) + points


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["faults"] = session.config.stash.get(_TALLY, {})


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    counts = config.stash.get(_TALLY, {})
    for what, points in sorted(counts.items()):
        terminalreporter.write_line(f"faults: {what}: {points:,} points")
