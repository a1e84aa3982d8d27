"""What a batch brings back to whoever called for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..exit_codes import ExitCode
from ..models import Failure

if TYPE_CHECKING:
    import pyarrow as pa

State = Literal["finished", "stopped", "timed_out", "interrupted"]


def lacks_runs(config: Mapping[str, Any], counts: Mapping[str, int]) -> bool:
    """Whether there was nothing to do, for other shards neither, and that is a failure (--fail-if-empty).

    Both as metrics have them.
    """
    return bool(config.get("fail_if_empty")) and not (counts["selected"] or counts["other_shards"])


@dataclass(frozen=True)
class BatchReport:
    """What a batch did."""

    metrics: dict[str, Any]
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
        counts = self.metrics["counts"]
        if self.defects or self.unwritten:
            return ExitCode.ERROR
        if self.state == "stopped":
            return ExitCode.STOPPED
        if self.state == "timed_out":
            return ExitCode.TIMED_OUT
        lacking = lacks_runs(self.metrics["config"], counts)
        failures = counts["failed"] or counts["invalid"] or lacking
        return ExitCode.SOME_FAILED if failures else ExitCode.SUCCESS
