"""For the fork server alone, which imports this (``set_forkserver_preload``) before it forks any worker.

A parent that is killed while it starts a worker has told it nothing yet. The worker meets the end of the
pipe, and ``multiprocessing`` has ``sys.excepthook`` print that: nobody can do anything about it, and
whoever reads what a killed batch left on standard error would look for a defect.
"""

from __future__ import annotations

import sys
from types import TracebackType


def _tell_unless_orphaned(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if not issubclass(kind, EOFError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _tell_unless_orphaned
