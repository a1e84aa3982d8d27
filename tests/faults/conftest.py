"""Proofs by real faults (docs/reliability.md): the suite runs a short form of them.

``--faults-full`` runs all of it (the environment ``faults`` of tox.ini).
"""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def root_user() -> None:
    """Skips where the test may not mount."""
    if os.geteuid() != 0:
        pytest.skip("NOT ROOT: mounting needs it")
