"""Audits of a tree, and what kills one of their workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

from support.drift import Tree

from batchpersist.audit import AuditOptions, AuditReport, Finding, RunStatus, audit_root

Signs = dict[tuple[str, str], str]


def audit(tree: Tree, *sources: Path, **how: object) -> tuple[AuditReport, list[Finding], Signs]:
    options = AuditOptions(str(tree.out), str(tree.runs), **{"pause_seconds": 0.0, **how})  # type: ignore[arg-type]
    findings: list[Finding] = []
    signs: Signs = {}

    def on_run(status: RunStatus, task_id: str, run_id: str) -> None:
        assert (task_id, run_id) not in signs
        signs[task_id, run_id] = status.value

    report = audit_root(options, list(map(str, sources)), on_finding=findings.append, on_run=on_run)
    assert report.counts.total() == len(findings)
    return report, findings, signs


def short(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return sorted((finding.kind.value, finding.task_id, finding.run_id) for finding in findings)


def kill_one_worker(killed: list[int]) -> None:
    """The first time that there is one."""
    for child in multiprocessing.active_children() if not killed else ():
        if child.pid:
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)
            return
