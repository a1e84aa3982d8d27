"""What a batch has lost so far: invalid input and failed runs, and whether it is too much."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..context import OnEvent
from ..events import RunFailed
from ..models import ShardOutcome
from ..options import FailurePolicy
from ..sources import decoded

if TYPE_CHECKING:
    import pyarrow as pa


class Losses:
    """Counts by the failure policy, and reports each run that failed for good."""

    def __init__(self, policy: FailurePolicy, on_event: OnEvent) -> None:
        self._policy = policy
        self._on_event = on_event
        self._failed: set[int] = set()
        self._told: set[tuple[str, int]] = set()
        self.discovered = 0
        """Runs, the invalid ones included."""
        self.invalid = 0

    @property
    def count(self) -> int:
        return self.invalid + len(self._failed)

    @property
    def are_too_many(self) -> bool:
        return self._policy.exceeded(self.count, self.discovered)

    def add(self, table: pa.Table, outcome: ShardOutcome, rows: Iterable[int]) -> None:
        """Count and report what failed for good; a superseded row's part in a snapshot is nobody's loss.

        ``table`` is the plan's; ``rows`` are those of the shard that will not be tried again.
        """
        first = outcome.shard.start
        for row in sorted(rows):
            run = table.slice(first + row, 1).to_pylist()[0]
            if run["superseded"]:
                continue
            self._failed.add(first + row)
            place = (decoded(run["origin"], run["file"]).name, run["line"], run["task_id"], run["run_id"])
            if row in outcome.snapshot_failures and self._is_news("snapshot", first + row):
                self._on_event(RunFailed("snapshot", outcome.snapshot_failures[row], *place))
            if row in outcome.manifest_failures and self._is_news("manifest", first + row):
                self._on_event(RunFailed("manifest", outcome.manifest_failures[row], *place))

    def _is_news(self, side: str, row: int) -> bool:
        """Not so where what failed for good is met again, beside what is tried again."""
        before = len(self._told)
        self._told.add((side, row))
        return len(self._told) > before
