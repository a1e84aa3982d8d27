"""Comparing what stands: snapshots with manifests, and both with sources (docs/audit.md). Reads only.

``look_around`` lists the two roots; ``jobs`` are cut by tasks; in a worker ``look`` compares the sides of a
task run by run; ``confirm`` has what was found seen a second time; ``audit_root`` is the whole.
"""

from .models import Finding, Kind, Sign, Tally, Weight
from .options import AuditOptions
from .run import Audit, AuditReport, OnRun, audit_root

__all__ = [
    "Audit",
    "AuditOptions",
    "AuditReport",
    "Finding",
    "Kind",
    "OnRun",
    "Sign",
    "Tally",
    "Weight",
    "audit_root",
]
