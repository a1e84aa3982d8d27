"""Comparisons with the published orchestrator: a short form in the suite, a long one by ``--faults-full``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # the suite's helpers: model, contenders
