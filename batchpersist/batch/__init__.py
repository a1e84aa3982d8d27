"""A batch from its start to its end: run, resumed, retried, rehearsed, checked.

Read ``run`` first: scan, plan, persist, report. Its modules are its public names.
"""

__all__ = [
    "dry_run",
    "retry",
    "run",
    "status",
    "validate",
]
