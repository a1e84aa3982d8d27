"""All that a repair can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..audit import AuditOptions
from ..models import Durability
from ..options import LockPolicy, Options

Prefer = Literal["manifest", "snapshot", "summary"]


@dataclass(frozen=True, repr=False)
class RepairOptions(Options):
    """What to repair, and how. Picklable."""

    audit: AuditOptions = field(default_factory=AuditOptions)
    """Where to look for what is to be repaired."""
    prefer: Prefer | None = None
    """Whose text a run gets where its texts differ; None: such a run is left as it is."""
    complete: bool = False
    """Give each run on both sides the text that has most members, where others have fewer (``enriched``)."""
    durability: Durability = Durability.BATCH
    lock_policy: LockPolicy = field(default_factory=LockPolicy)
