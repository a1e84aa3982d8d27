"""Proofs by real faults (docs/reliability.md): the suite runs a short form of them.

``--faults-full`` runs all of it (the environment ``faults`` of tox.ini).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faultpoints import Command, build


@pytest.fixture(scope="session")
def root_user() -> None:
    """Skips the test if it may not mount."""
    if os.geteuid() != 0:
        pytest.skip("NOT ROOT: mounting needs it")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str]) -> Path:
    """The compiled faultpoints.c."""
    return build(tmp_path_factory.mktemp("shim"), tool("gcc"))


@pytest.fixture(scope="module")
def command(library: Path, world: Any) -> Iterator[Command]:
    """The command, whose calls below the root of the test module's ``world`` can fail or kill."""
    with Command(library, world.root.parent, world.root) as command:
        yield command
