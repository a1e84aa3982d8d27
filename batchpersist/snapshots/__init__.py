"""Task snapshots: read, merged with new runs, written beside the old file and committed under the lock.

``TaskStateStore`` records runs; ``StagedSnapshot`` is one commit on its way. A failed commit leaves
the old file.
"""

from .base_file import Baseline
from .commit import ATTEMPTS, StagedSnapshot
from .entries import Entries
from .history import History, NotASnapshotError, OtherTaskError
from .writer import Composition, RunsLeftOutError

__all__ = [
    "ATTEMPTS",
    "Baseline",
    "Composition",
    "Entries",
    "History",
    "NotASnapshotError",
    "OtherTaskError",
    "RunsLeftOutError",
    "StagedSnapshot",
]
