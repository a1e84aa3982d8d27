"""What a repair did, or would do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..audit import Finding, Kind, Tally, Weight
from ..exit_codes import ExitCode
from ..models import Failure
from .fixes import Remedy

Group = tuple[Kind, "Remedy | None"]


@dataclass
class RepairReport:
    """What a repair did, or would do."""

    dry_run: bool
    """Nothing was written."""
    runs: int = 0
    """Of which anything was seen."""
    found: Tally[Group] = field(default_factory=Tally)
    """What was found to be repaired, by kind and by what is done about it (None: nothing can be)."""
    left: Tally[Kind] = field(default_factory=Tally)
    """What was found again afterwards, or was not even tried."""
    failures: dict[str, Failure] = field(default_factory=dict)
    """Task id -> why its repair failed, where it did."""
    folder: str | None = None
    """Where copies of what was replaced are kept; None where nothing was."""
    interrupted: bool = False

    @property
    def findings(self) -> int:
        """How many there were to be repaired."""
        return self.found.counts.total()

    @property
    def without_remedy(self) -> int:
        """How many of them there is nothing to do about, or not without being told more."""
        return sum(count for (_, remedy), count in self.found.counts.items() if remedy is None)

    @property
    def exit_code(self) -> ExitCode:
        """Done: 0, or 3 if something is left. Dry: that of an audit."""
        if not self.dry_run:
            return ExitCode.SOME_FAILED if self.left.counts or self.failures else ExitCode.SUCCESS
        weights: Counter[Weight] = Counter(kind.weight for kind, _ in self.found.counts)
        if weights[Weight.DIFFERENCE]:
            return ExitCode.DIFFERENCES
        return ExitCode.SOME_FAILED if weights[Weight.UNCHECKED] else ExitCode.SUCCESS

    def leave(self, finding: Finding) -> None:
        """Count what is left."""
        self.left.add(finding.kind, finding)
