"""Audit and repair beside live orchestrators: no false difference is reported, and no update is lost."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from peers_test import ORCHESTRATOR, report_of
from support.drift import Tree, make_run, remaining_differences
from support.model import Run, stringify

from batchpersist.audit import AuditOptions, Finding, Severity, audit_root
from batchpersist.audit import run as audit_run
from batchpersist.models import Durability
from batchpersist.repair import RepairOptions, repair_root

TASKS = ["billing", "mail", "search"]


@contextmanager
def orchestrators(tree: Tree, package: Path, count: int) -> Iterator[list[Run]]:
    """Record runs into all tasks; yields a list that holds them once the block has ended."""
    words = ["node", str(ORCHESTRATOR), str(package), str(tree.out), str(tree.runs)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    peers = [subprocess.Popen(words, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    sent: list[Run] = []
    ended = threading.Event()

    def feed(peer: subprocess.Popen[str], number: int) -> None:
        assert peer.stdin is not None
        for at in range(100_000):
            run = make_run(
                TASKS[(at + number) % 3], 1000 * (number + 1) + at, timestamp=f"2027-{at:06}-{number}"
            )
            sent.append(run)
            peer.stdin.write(json.dumps(run) + "\n")
            peer.stdin.flush()
            if ended.wait(0.02):
                break
        peer.stdin.close()

    feeders = [threading.Thread(target=feed, args=pair) for pair in zip(peers, range(count), strict=True)]
    for feeder in feeders:
        feeder.start()
    recorded: list[Run] = []
    try:
        while not tree.out.exists():
            time.sleep(0.01)
        yield recorded
    finally:
        ended.set()
        for feeder in feeders:
            feeder.join()
        reports = [report_of(peer) for peer in peers]
        keys = {(task, run) for report in reports for task, run, _ in report["recorded"]}
        recorded += [run for run in sent if (run["taskId"], run["runId"]) in keys]
        assert [report["broken"] for report in reports] == [[]] * count


def differences(tree: Tree, pause_seconds: float) -> list[Finding]:
    found: list[Finding] = []
    audit_root(
        AuditOptions(str(tree.out), str(tree.runs), pause_seconds=pause_seconds), on_finding=found.append
    )
    return [finding for finding in found if finding.kind.severity is not Severity.INFORMATION]


def test_audit_beside_orchestrators_reports_no_false_difference(
    tmp_path: Path, orchestrator_package: Path, full: bool
) -> None:
    tree = Tree(tmp_path).fill(range(50), TASKS)
    tree.manifest("mail", "mail-0").unlink()
    with orchestrators(tree, orchestrator_package, 2) as recorded:
        for _ in range(10 if full else 1):
            found = differences(tree, pause_seconds=2.0)
            assert [(finding.kind.value, finding.run_id) for finding in found] == [
                ("missing-manifest", "mail-0")
            ]
    assert len(recorded) > 20


def test_control_single_check_reports_false_differences(
    tmp_path: Path,
    orchestrator_package: Path,
    tally: Callable[[str, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = Tree(tmp_path).fill(range(50), TASKS)
    monkeypatch.setattr(audit_run, "confirm", lambda first, _second: first)
    audits = 0
    with orchestrators(tree, orchestrator_package, 2):
        while not differences(tree, pause_seconds=0.0):
            audits += 1
            assert audits < 500
    tally("audits of one check beside orchestrators until the first false difference", audits + 1)


def test_repair_beside_orchestrators_loses_no_update(
    tmp_path: Path, orchestrator_package: Path, full: bool
) -> None:
    rounds = 10 if full else 2
    tree = Tree(tmp_path).fill(range(30), TASKS)
    options = RepairOptions(
        AuditOptions(str(tree.out), str(tree.runs), pause_seconds=0.5),
        prefer="manifest",
        durability=Durability.NONE,
    )
    with orchestrators(tree, orchestrator_package, 2) as recorded:
        for number in range(rounds):
            for task in TASKS:
                tree.manifest(task, f"{task}-{number}").unlink()
                changed = stringify(make_run(task, 10 + number, notes="changed"))
                tree.manifest(task, f"{task}-{10 + number}").write_text(changed)
            repair_root(options, dry_run=False)
    assert repair_root(options, dry_run=False).exit_code == 0
    assert remaining_differences(tree) == set()
    for run in recorded:
        assert run in tree.read(run["taskId"])["runs"]
        assert tree.manifest(run["taskId"], run["runId"]).read_text("utf-8") == stringify(run)
    for task in TASKS:
        ids = {run["runId"] for run in tree.read(task)["runs"]}
        assert {f"{task}-{number}" for number in range(30)} <= ids
