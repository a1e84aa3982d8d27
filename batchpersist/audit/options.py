"""All that an audit can be told."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..errors import UsageError
from ..layout import Layout, check_roots
from ..models import DEFAULT_KEYS, Keys
from ..options import NODE_LIMIT, POOL_RUNS, LockPolicy, Options, check_limit

PAUSE_SECONDS = 2.0
"""Between two looks: longer than an orchestrator tries for a task's lock (about 1.5 s) before it gives up."""


@dataclass(frozen=True, repr=False)
class AuditOptions(Options):
    """What to look at, and how. Picklable: every job carries it to its worker."""

    out_dir: str = "out"
    runs_dir: str = ".runs"
    keys: Keys = DEFAULT_KEYS
    tasks: tuple[str, ...] = ()
    """Shell patterns, any of which may match; empty: all tasks."""
    workers: int = 1
    pool_runs: int = POOL_RUNS
    """Stay in-process below so many runs."""
    pause_seconds: float = PAUSE_SECONDS
    """Before the second look, which has to confirm what the first one found."""
    stale_seconds: float = LockPolicy.stale_seconds
    """A younger lock file is never called stale."""
    max_snapshot_units: int | None = NODE_LIMIT
    """UTF-16 units of a snapshot: a longer one is a finding, and a repair writes none. None: no limit."""

    def __post_init__(self) -> None:
        """Raises UsageError for what could not be carried out."""
        super().__post_init__()
        for name in ("out_dir", "runs_dir"):
            object.__setattr__(self, name, os.path.abspath(getattr(self, name)))
        if self.workers < 1:
            raise UsageError(f"at least one worker is needed, not {self.workers}")
        check_limit(self.max_snapshot_units)
        check_roots(self.out_dir, self.runs_dir)

    @property
    def layout(self) -> Layout:
        """Every path below the two roots."""
        return Layout(self.out_dir, self.runs_dir)

    def selects(self, task_id: str) -> bool:
        """Whether a task is to be looked at."""
        return not self.tasks or any(fnmatchcase(task_id, glob) for glob in self.tasks)
