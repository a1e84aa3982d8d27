"""All that a repair can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from ..audit import AuditOptions
from ..errors import UsageError
from ..models import Durability
from ..options import LockPolicy

Prefer = Literal["manifest", "snapshot", "summary"]


@dataclass(frozen=True)
class RepairOptions:
    """What to repair, and how. Picklable."""

    audit: AuditOptions = field(default_factory=AuditOptions)
    """Where to look for what is to be repaired."""
    prefer: Prefer | None = None
    """Whose text a run gets where its texts differ; None: such a run is left as it is."""
    complete: bool = False
    """Give each run on both sides the text that has most members, where others have fewer (``enriched``)."""
    durability: Durability = Durability.BATCH
    lock: LockPolicy = field(default_factory=LockPolicy)

    def __post_init__(self) -> None:
        """Raises UsageError for what could not be carried out."""
        if self.prefer not in (None, *get_args(Prefer)):
            raise UsageError(f"what to prefer is {', '.join(get_args(Prefer))}, not {self.prefer!r}")
