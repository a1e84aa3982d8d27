"""What a repair does about each kind of finding."""

from __future__ import annotations

from enum import Enum

from ..audit import Finding, Kind, Weight
from .options import Prefer


class Remedy(str, Enum):
    """In words that follow a count: ``3 x missing-manifest: written from the snapshot``."""

    RECORD = "recorded in the snapshot, from the manifest"
    WRITE = "written, from the snapshot"
    TAKE_MANIFEST = "the snapshot's entry replaced by the manifest"
    TAKE_SNAPSHOT = "the manifest replaced by the snapshot's entry"
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


def remedy(finding: Finding, prefer: Prefer | None) -> Remedy | None:
    """What is done about a finding; None where nothing can be, or nobody has said what is right."""
    if finding.kind is Kind.CONTENT_DIFFERS and prefer is not None:
        return Remedy.TAKE_MANIFEST if prefer == "manifest" else Remedy.TAKE_SNAPSHOT
    if finding.kind is Kind.WRONG_ID:
        return Remedy.MOVE if finding.run_id else Remedy.SALVAGE
    return _REMEDIES.get(finding.kind)


def needs_one(finding: Finding) -> bool:
    """Whether it is something to be repaired at all."""
    return finding.kind.weight is not Weight.INFORMATION
