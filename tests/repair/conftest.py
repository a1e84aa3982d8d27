"""A tree with some runs of three tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.drift import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path).fill()
