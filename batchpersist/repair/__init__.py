"""Doing something about what an audit finds (docs/audit.md): no run is removed, what is replaced is kept.

``root`` has an audit made; a worker repairs a ``task``: first manifests that are none, then the snapshot
(``rebuild``), then manifests that are missing; ``keeping`` has the copies.
"""

from .fixes import Remedy
from .options import RepairOptions
from .report import RepairReport
from .run import repair_root

__all__ = ["Remedy", "RepairOptions", "RepairReport", "repair_root"]
