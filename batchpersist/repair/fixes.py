"""What a repair does about each kind of finding: its options, the fixes, and its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from ..audit import AuditOptions, Finding, FindingCounter, FindingKind, Severity
from ..exit_codes import ExitCode
from ..models import Durability, Failure
from ..option_checks import Options
from ..options import LockPolicy

Prefer = Literal["manifest", "snapshot", "summary"]


@dataclass(frozen=True, repr=False)
class RepairOptions(Options):
    """What to repair, and how. Picklable."""

    audit: AuditOptions = field(default_factory=AuditOptions)
    """What the audit checks that finds what is to be repaired."""
    prefer: Prefer | None = None
    """Whose text a run gets where its texts differ; None: the run is left as it is."""
    complete: bool = False
    """Give each run on both sides the text with most members, where others have fewer (``enriched``)."""
    durability: Durability = Durability.BATCH
    lock_policy: LockPolicy = field(default_factory=LockPolicy)


class Fix(str, Enum):
    """What a repair does about a finding. Stable names: programs may rely on them."""

    RECORD = "record"
    """Record the run in the snapshot, from its manifest or summary."""
    WRITE = "write"
    """Write the manifest from the snapshot."""
    TAKE_MANIFEST = "take-manifest"
    """Replace the entry by the manifest."""
    TAKE_SNAPSHOT = "take-snapshot"
    """Replace the manifest by the entry."""
    TAKE_SUMMARY = "take-summary"
    """Replace both by the run's summary."""
    COMPLETE = "complete"
    """Give both the text with most members."""
    KEEP_ONE = "keep-one"
    """Keep one entry of the run: the one with the manifest's content, else the last."""
    REORDER = "reorder"
    """Write the snapshot as recording its entries in turn leaves it."""
    RECOVER = "recover"
    """Set the snapshot aside, and write what can be read of it, and of the manifests."""
    REWRITE = "rewrite"
    """Set the manifest aside, and write what can be read of it, else the snapshot's entry."""
    MOVE = "move"
    """Put the run where it belongs, unless something is there."""
    REMOVE = "remove"
    CLEAR = "clear"
    """Remove the lock, by its protocol."""


_FIXES = {
    FindingKind.MISSING_IN_SNAPSHOT: Fix.RECORD,
    FindingKind.MISSING_MANIFEST: Fix.WRITE,
    FindingKind.DUPLICATE_RUN: Fix.KEEP_ONE,
    FindingKind.UNSORTED: Fix.REORDER,
    FindingKind.WRONG_LAST_RUN_AT: Fix.REORDER,
    FindingKind.INVALID_SNAPSHOT: Fix.RECOVER,
    FindingKind.INVALID_MANIFEST: Fix.REWRITE,
    FindingKind.ORPHANED_TEMPORARY: Fix.REMOVE,
    FindingKind.STALE_LOCK: Fix.CLEAR,
}

_PREFERRED: dict[Prefer | None, Fix] = {
    "manifest": Fix.TAKE_MANIFEST,
    "snapshot": Fix.TAKE_SNAPSHOT,
    "summary": Fix.TAKE_SUMMARY,
}


def fix_for(finding: Finding, options: RepairOptions) -> Fix | None:
    """What is done about a finding; None where nothing can be, or the user has not said what is right."""
    if finding.kind is FindingKind.CONTENT_DIFFERS:
        return _PREFERRED.get(options.prefer)
    if finding.kind is FindingKind.ENRICHED:
        return Fix.COMPLETE if options.complete else None
    if finding.kind is FindingKind.WRONG_ID:
        return Fix.MOVE if finding.run_id else Fix.RECOVER
    return _FIXES.get(finding.kind)


def needs_repair(finding: Finding, options: RepairOptions) -> bool:
    """Whether a finding counts for a repair at all, with a fix or without."""
    if finding.kind is FindingKind.ENRICHED:
        return options.complete
    return finding.kind.severity is not Severity.INFORMATION


@dataclass(repr=False)
class RepairReport:
    """What a repair did, or would do."""

    dry_run: bool
    """Nothing was written."""
    runs: int = 0
    """Runs that are on any side."""
    found: FindingCounter[tuple[FindingKind, Fix | None]] = field(default_factory=FindingCounter)
    """What needs a repair, by kind and by fix (None: there is none)."""
    left: FindingCounter[FindingKind] = field(default_factory=FindingCounter)
    """What was found again after the repair, or was not tried."""
    failures: dict[str, Failure] = field(default_factory=dict)
    """Task id -> why its repair failed, where it did."""
    folder: str | None = None
    """The folder with copies of what was replaced; None where nothing was."""
    interrupted: bool = False

    def __repr__(self) -> str:
        left = self.left.counts.total()
        return (
            f"RepairReport(dry_run={self.dry_run}, runs={self.runs}, findings={self.findings}, left={left}, "
            f"failures={len(self.failures)}, exit_code={self.exit_code})"
        )

    @property
    def findings(self) -> int:
        """How many findings need a repair."""
        return self.found.counts.total()

    @property
    def without_fix(self) -> int:
        """How many of them have no fix, or none without a further option."""
        return sum(count for (_, fix), count in self.found.counts.items() if fix is None)

    @property
    def exit_code(self) -> ExitCode:
        """After a repair: 0, or 3 if something is left. After a dry run: that of an audit."""
        if not self.dry_run:
            return ExitCode.SOME_FAILED if self.left.counts or self.failures else ExitCode.SUCCESS
        severities = {kind.severity for kind, _ in self.found.counts}
        if Severity.DIFFERENCE in severities:
            return ExitCode.DIFFERENCES
        return ExitCode.SOME_FAILED if Severity.UNCHECKED in severities else ExitCode.SUCCESS
