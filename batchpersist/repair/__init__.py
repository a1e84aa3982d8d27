"""The repair of what an audit finds (docs/audit.md): no run is removed, what is replaced is backed up.

``repair_root`` is the whole of it: it audits the two roots, chooses a ``Fix`` for each finding, and has a
worker repair each task: first its invalid manifests, then its snapshot, then the manifests that are
missing. What that brings to light is repaired in further rounds. A dry run says what would be done.
"""

from .fixes import Fix, Prefer, RepairOptions, RepairReport
from .run import repair_root

__all__ = ["Fix", "Prefer", "RepairOptions", "RepairReport", "repair_root"]
