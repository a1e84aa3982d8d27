"""What a repair does about each kind of finding."""

from __future__ import annotations

from enum import Enum

from ..audit import Finding, Kind, Weight
from .options import Prefer, RepairOptions


class Remedy(str, Enum):
    """In words that follow a count: ``3 x missing-manifest: written from the snapshot``."""

    RECORD = "recorded in the snapshot, from the manifest or the run's summary"
    WRITE = "written, from the snapshot"
    TAKE_MANIFEST = "the snapshot's entry replaced by the manifest"
    TAKE_SNAPSHOT = "the manifest replaced by the snapshot's entry"
    TAKE_SUMMARY = "the snapshot's entry and the manifest replaced by the run's summary"
    COMPLETE = "given the text that has most members, in the snapshot and in the manifest"
    KEEP_ONE = "one entry kept: the one that is as the manifest, else the last"
    REORDER = "written anew, as recording its entries in turn leaves it"
    SALVAGE = "set aside; written anew from what can be read of it, and from manifests"
    MEND = "set aside; written anew from what can be read of it, else from the snapshot"
    MOVE = "put where it belongs, if nothing stands there"
    REMOVE = "removed"
    CLEAR = "cleared, by the lock's protocol"


_REMEDIES = {
    Kind.MISSING_IN_SNAPSHOT: Remedy.RECORD,
    Kind.MISSING_MANIFEST: Remedy.WRITE,
    Kind.DUPLICATE_RUN: Remedy.KEEP_ONE,
    Kind.UNSORTED: Remedy.REORDER,
    Kind.WRONG_LAST_RUN_AT: Remedy.REORDER,
    Kind.INVALID_SNAPSHOT: Remedy.SALVAGE,
    Kind.INVALID_MANIFEST: Remedy.MEND,
    Kind.ORPHANED_TEMPORARY: Remedy.REMOVE,
    Kind.STALE_LOCK: Remedy.CLEAR,
}


_PREFERRED: dict[Prefer | None, Remedy] = {
    "manifest": Remedy.TAKE_MANIFEST,
    "snapshot": Remedy.TAKE_SNAPSHOT,
    "summary": Remedy.TAKE_SUMMARY,
}


def remedy(finding: Finding, options: RepairOptions) -> Remedy | None:
    """What is done about a finding; None where nothing can be, or nobody has said what is right."""
    if finding.kind is Kind.CONTENT_DIFFERS:
        return _PREFERRED.get(options.prefer)
    if finding.kind is Kind.ENRICHED:
        return Remedy.COMPLETE if options.complete else None
    if finding.kind is Kind.WRONG_ID:
        return Remedy.MOVE if finding.run_id else Remedy.SALVAGE
    return _REMEDIES.get(finding.kind)


def needs_one(finding: Finding, options: RepairOptions) -> bool:
    """Whether it is something to be repaired at all."""
    if finding.kind is Kind.ENRICHED:
        return options.complete
    return finding.kind.weight is not Weight.INFORMATION
