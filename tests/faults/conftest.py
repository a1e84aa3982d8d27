"""Proofs by real faults (docs/reliability.md): the suite runs a short form of them.

``--faults-full`` runs all of it (the environment ``faults`` of tox.ini).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # the suite's helpers: model, contenders


@pytest.fixture(scope="session")
def root_user() -> None:
    """Skips where the test may not mount."""
    if os.geteuid() != 0:
        pytest.skip("NOT ROOT: mounting needs it")
