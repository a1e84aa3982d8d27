"""Audits of a tree, and a fault that kills one of their workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

from support.drift import Tree

from batchpersist.audit import AuditOptions, AuditReport, Finding, RunStatus, audit_root

Statuses = dict[tuple[str, str], str]


def audit(tree: Tree, *sources: Path, **how: object) -> tuple[AuditReport, list[Finding], Statuses]:
    """Audit a tree without a pause; returns the report, the findings, and the status of each run."""
    options = AuditOptions(str(tree.out), str(tree.runs), **{"pause_seconds": 0.0, **how})  # type: ignore[arg-type]
    findings: list[Finding] = []
    statuses: Statuses = {}

    def on_run(status: RunStatus, task_id: str, run_id: str) -> None:
        assert (task_id, run_id) not in statuses
        statuses[task_id, run_id] = status.value

    report = audit_root(options, list(map(str, sources)), on_finding=findings.append, on_run=on_run)
    assert report.counts.total() == len(findings)
    return report, findings, statuses


def summarize(findings: list[Finding]) -> list[tuple[str, str, str]]:
    """(kind, task id, run id) of each finding, sorted."""
    return sorted((finding.kind.value, finding.task_id, finding.run_id) for finding in findings)


def kill_one_worker(killed: list[int]) -> None:
    """Kill the first worker process that appears, and add its id to ``killed``."""
    for child in multiprocessing.active_children() if not killed else ():
        if child.pid:
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)
            return
