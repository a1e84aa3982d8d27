"""The one entry to the whole job: scan the sources, plan, settle, and tell what happened.

The library never prints, exits or reads the environment: progress and failures go to a
callback, the rest comes back as a report.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from .batchlock import BatchLock
from .dispatch import Settling
from .executors import POOL_RUNS, Crew
from .index import IndexBuilder
from .layout import Layout
from .locks import LockPolicy
from .models import DEFAULT_KEYS, Durability, Event, Keys, Progress, RunFailure, ShardOutcome
from .plan import Plan, Selection, make_plan
from .policy import FailurePolicy
from .settle import SettleOptions
from .sources import Part, discover

if TYPE_CHECKING:
    import pyarrow as pa

Watch = Callable[[Event], None]
State = Literal["finished", "stopped", "interrupted"]


@dataclass(frozen=True)
class BatchOptions:
    """All that a batch can be told; the defaults are the command's."""

    out_dir: str = "out"
    runs_dir: str = ".runs"
    metrics: str | None = None
    """Where to write the metrics; None: ``<out_dir>/metrics.json``."""
    outcomes: str | None = None
    """Where to save the outcome table as Parquet; None: nowhere."""
    keys: Keys = DEFAULT_KEYS
    selection: Selection = field(default_factory=Selection)
    workers: int = 1
    pool_runs: int = POOL_RUNS
    """Stay in-process below so many runs."""
    commit: Literal["task", "run"] = "task"
    pair: Literal["concurrent", "sequential"] = "concurrent"
    durability: Durability = Durability.BATCH
    lock: LockPolicy = field(default_factory=LockPolicy)
    force: bool = False
    failures: FailurePolicy = field(default_factory=FailurePolicy)

    @property
    def metrics_path(self) -> str:
        return self.metrics or os.path.join(self.out_dir, "metrics.json")

    def settling(self) -> SettleOptions:
        return SettleOptions(
            out_dir=os.path.abspath(self.out_dir),
            runs_dir=os.path.abspath(self.runs_dir),
            keys=self.keys,
            durability=self.durability,
            commit=self.commit,
            pair=self.pair,
            lock=self.lock,
            force=self.force,
        )
