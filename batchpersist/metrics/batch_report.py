"""What a batch returns to its caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..exit_codes import ExitCode
from ..models import Failure
from .schema import Metrics, State

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, repr=False)
class BatchReport:
    """What a batch did."""

    metrics: Metrics
    """The content of metrics.json (docs/metrics.md)."""
    outcomes: pa.Table
    """A row a run (docs/metrics.md)."""
    state: State
    defects: int
    """Shards that failed by an error of this package's own, not of their runs."""
    unwritten: list[Failure]
    """Why metrics.json, the outcome table or another file asked for could not be written, if so."""
    folder: str
    """Where the batch's own record is kept (docs/batches.md)."""

    @property
    def exit_code(self) -> ExitCode:
        """What the command exits with; an interruption's is the caller's to know."""
        if self.defects or self.unwritten:
            return ExitCode.ERROR
        if self.state == "stopped":
            return ExitCode.STOPPED
        if self.state == "timed_out":
            return ExitCode.TIMED_OUT
        return ExitCode.SOME_FAILED if self.metrics.has_failures else ExitCode.SUCCESS

    def __repr__(self) -> str:
        counts = self.metrics.counts
        figures = ", ".join(
            f"{name}={getattr(counts, name)}"
            for name in ("selected", "persisted", "unchanged", "failed", "invalid")
        )
        return f"BatchReport({self.metrics.batch_id}: {self.state}, {figures}, exit_code={self.exit_code})"
