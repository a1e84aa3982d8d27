"""The comparison of everything that was persisted: snapshots, manifests and sources (docs/audit.md).

``audit_root`` is the whole of it: it lists the two roots, has workers check task by task, run by run, and
reports what differs once a second check has confirmed it. Nothing is written and nothing is locked, so an
audit may run beside an orchestrator. A repair builds on the same parts: it iterates over an ``Audit``,
reads the ``RunFiles`` of a task, and with ``check_runs`` checks what it has repaired.
"""

from .check_task import check_runs
from .models import AuditOptions, AuditReport, Finding, FindingCounter, FindingKind, RunStatus, Severity
from .run import Audit, OnRun, audit_root
from .run_files import RunFiles

__all__ = [
    "Audit",
    "AuditOptions",
    "AuditReport",
    "Finding",
    "FindingCounter",
    "FindingKind",
    "OnRun",
    "RunFiles",
    "RunStatus",
    "Severity",
    "audit_root",
    "check_runs",
]
