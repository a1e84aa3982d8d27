"""Repairs of a tree, and the files that they back up."""

from __future__ import annotations

from pathlib import Path

from support.drift import Tree

from batchpersist.audit import AuditOptions
from batchpersist.models import Durability
from batchpersist.repair import Prefer, RepairOptions, RepairReport, repair_root


def options(tree: Tree, prefer: Prefer | None = None, **how: object) -> RepairOptions:
    audit = AuditOptions(str(tree.out), str(tree.runs), **{"pause_seconds": 0.0, **how})  # type: ignore[arg-type]
    return RepairOptions(audit, prefer, durability=Durability.NONE)


def repair(tree: Tree, prefer: Prefer | None = None, **how: object) -> RepairReport:
    return repair_root(options(tree, prefer, **how), dry_run=False)


def kept(report: RepairReport) -> dict[str, bytes]:
    """The files below the folder of a repair."""
    assert report.folder is not None
    root = Path(report.folder)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.json")}
