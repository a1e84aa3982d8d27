"""The length that a snapshot may have: what Node.js can read, counted in UTF-16 units."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.engine import run, text

from batchpersist import (
    AuditOptions,
    BatchOptions,
    RepairOptions,
    SnapshotError,
    TaskStateStore,
    UsageError,
    audit_root,
    repair_root,
    run_batch,
)
from batchpersist.cli.main import cli
from batchpersist.contract.snapshot_text import SnapshotTooLongError, limited, utf16_units
from batchpersist.models import Durability, Side
from batchpersist.options import NODE_LIMIT

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="NO NODE: its own limit is NOT looked at")

SPELLINGS = ("x", "é", "漢", "😀")
"""Of one to four bytes in UTF-8; the last is two units in UTF-16."""


def units(data: bytes) -> int:
    return len(data.decode().encode("utf-16-le")) // 2


def snapshot(root: Path, task: str = "t") -> Path:
    return root / "out" / task / "runs.json"


def store(root: Path, limit: int | None) -> TaskStateStore:
    return TaskStateStore(
        str(root / "out"), str(root / "runs"), durability=Durability.NONE, max_snapshot_units=limit
    )


def audit(root: Path, limit: int | None) -> tuple[int, dict[str, str]]:
    """The exit code, and the findings' details."""
    options = AuditOptions(str(root / "out"), str(root / "runs"), pause_seconds=0.0, max_snapshot_units=limit)
    details: dict[str, str] = {}
    report = audit_root(
        options, on_finding=lambda finding: details.update({finding.kind.value: finding.detail})
    )
    return report.exit_code, details


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 9))
def test_units_are_those_of_utf_16_wherever_a_block_is_cut(words: str, size: int) -> None:
    data = words.encode()
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    assert sum(map(utf16_units, blocks)) == units(data)


@pytest.mark.parametrize("letter", SPELLINGS)
def test_a_snapshot_may_have_as_many_units_as_the_limit_and_not_one_more(tmp_path: Path, letter: str) -> None:
    runs = [run("t", number, notes=letter * 50) for number in range(3)]
    store(tmp_path, None).record_runs(runs)
    whole = snapshot(tmp_path).read_bytes()
    limit = units(whole)
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(SnapshotTooLongError, match=f"exceed {limit - 1:,} UTF-16 units"):
        store(tmp_path, limit - 1).record_runs(runs)
    assert not snapshot(tmp_path).exists()
    store(tmp_path, limit).record_runs(runs)
    assert snapshot(tmp_path).read_bytes() == whole


@pytest.mark.parametrize("letter", SPELLINGS)
def test_a_run_that_would_make_a_history_too_long_is_not_appended(tmp_path: Path, letter: str) -> None:
    store(tmp_path, None).record_run(run("t", 0, notes=letter * 500))
    before = snapshot(tmp_path).read_bytes()
    limit = units(before) + 100
    with pytest.raises(SnapshotError, match="it is left as it is"):
        store(tmp_path, limit).record_run(run("t", 1, notes=letter * 500))
    assert snapshot(tmp_path).read_bytes() == before
    assert os.listdir(snapshot(tmp_path).parent) == ["runs.json"]
    assert store(tmp_path, 1).record_run(run("t", 0, notes=letter * 500)) is Side.UNCHANGED


def test_a_text_is_counted_only_where_it_has_more_bytes_than_units_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_block: bytes) -> int:
        raise AssertionError("counted")

    monkeypatch.setattr("batchpersist.contract.snapshot_text.utf16_units", fail)
    store(tmp_path, 10_000).record_run(run("t", 0, notes="é" * 100))
    with pytest.raises(AssertionError, match="counted"):
        store(tmp_path, 400).record_run(run("t", 1, notes="é" * 100))


def test_the_error_survives_pickling_and_names_the_file() -> None:
    with pytest.raises(SnapshotTooLongError) as raised:
        list(limited([b"ab", b"cd"], 3, "/out/t/runs.json"))
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (copy.message, copy.detail) == (raised.value.message, "/out/t/runs.json")
    assert "all that Node.js can read" in SnapshotTooLongError(NODE_LIMIT, "").message


@pytest.mark.parametrize("workers", [1, 2])
def test_the_snapshot_side_fails_and_manifests_are_written(tmp_path: Path, workers: int) -> None:
    source = tmp_path / "a.jsonl"
    runs = [run(task, number, notes="x" * 200) for task in ("long", "short") for number in range(4)]
    del runs[-3:]
    source.write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in runs))
    options = BatchOptions(
        str(tmp_path / "out"),
        str(tmp_path / "runs"),
        workers=workers,
        pool_runs=0,
        max_snapshot_units=1000,
        durability=Durability.NONE,
    )
    report = run_batch([str(source)], options)
    assert report.exit_code == 3
    [cause] = report.metrics.errors
    assert (cause.stage, cause.type, cause.count) == ("snapshot", "SnapshotTooLongError", 4)
    assert cause.samples[0].detail == str(snapshot(tmp_path, "long"))
    assert not snapshot(tmp_path, "long").exists()
    assert snapshot(tmp_path, "short").exists()
    for each in runs:
        manifest = tmp_path / "runs" / each["taskId"] / each["runId"] / "manifest.json"
        assert manifest.read_bytes() == text(each)


def test_the_option_decides_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text(json.dumps(run("t", 0, notes="x" * 2000)))
    command = ["run", "a.jsonl", "-j", "1", "--max-snapshot-size"]
    invoke = CliRunner().invoke
    refused = invoke(cli, [*command, "1K"])
    assert refused.exit_code == 3
    assert "1 x snapshot: the snapshot would exceed 1,024 UTF-16 units" in refused.output
    assert invoke(cli, [*command, "0"]).exit_code == 2
    assert invoke(cli, [*command, "much"]).exit_code == 2
    assert invoke(cli, [*command, "none"]).exit_code == 0
    assert json.loads(Path("out/metrics.json").read_text())["config"]["max_snapshot_size"] is None
    assert "snapshot-too-long" in invoke(cli, ["audit", "--pause", "0", "--max-snapshot-size", "1K"]).output
    assert invoke(cli, ["audit", "--pause", "0", "--max-snapshot-size", "none"]).exit_code == 0
    shown = invoke(cli, ["config", "show", "run", "--json"], env={"BATCHPERSIST_MAX_SNAPSHOT_SIZE": "none"})
    assert '"option": "max-snapshot-size", "value": "none"' in shown.output


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_no_snapshot_can_keep_is_refused(limit: int) -> None:
    with pytest.raises(UsageError, match="some length"):
        BatchOptions(max_snapshot_units=limit)
    with pytest.raises(UsageError, match="some length"):
        AuditOptions(max_snapshot_units=limit)


def test_by_default_the_limit_is_what_node_can_read() -> None:
    assert BatchOptions().max_snapshot_units == AuditOptions().max_snapshot_units == NODE_LIMIT


@pytest.mark.parametrize("letter", SPELLINGS)
def test_audit_finds_a_snapshot_that_is_too_long_and_warns_from_80_percent_on(
    tmp_path: Path, letter: str
) -> None:
    each = run("t", 0, notes=letter * 1000)
    store(tmp_path, None).record_run(each)
    (tmp_path / "runs" / "t" / "run-0").mkdir(parents=True)
    (tmp_path / "runs" / "t" / "run-0" / "manifest.json").write_bytes(text(each))
    length = units(snapshot(tmp_path).read_bytes())
    assert audit(tmp_path, length - 1) == (
        5,
        {"snapshot-too-long": f"{length:,} UTF-16 units, 100% of {length - 1:,}"},
    )
    assert list(audit(tmp_path, length)[1]) == ["snapshot-near-limit"]
    assert audit(tmp_path, int(length / 0.8))[0] == 0
    assert list(audit(tmp_path, int(length / 0.8))[1]) == ["snapshot-near-limit"]
    assert audit(tmp_path, int(length / 0.8) + 2) == (0, {})
    assert audit(tmp_path, None) == (0, {})


def test_repair_writes_no_snapshot_that_is_too_long(tmp_path: Path) -> None:
    each = run("t", 0, notes="x" * 1000)
    (tmp_path / "runs" / "t" / "run-0").mkdir(parents=True)
    (tmp_path / "runs" / "t" / "run-0" / "manifest.json").write_bytes(text(each))
    (tmp_path / "out").mkdir()

    def repaired(limit: int | None) -> list[str]:
        look = AuditOptions(
            str(tmp_path / "out"), str(tmp_path / "runs"), pause_seconds=0.0, max_snapshot_units=limit
        )
        report = repair_root(RepairOptions(look, durability=Durability.NONE), dry_run=False)
        return [failure.type for failure in report.failures.values()]

    assert repaired(1000) == ["SnapshotTooLongError"]
    assert not snapshot(tmp_path).exists()
    assert repaired(None) == []
    assert snapshot(tmp_path).exists()


READ = """
require("fs").promises.readFile(process.argv[1], "utf-8").then(
    (text) => console.log(text.length), (error) => console.log(error.code ?? error.message));
"""


@needs_node
def test_units_are_what_javascript_counts(tmp_path: Path) -> None:
    assert NODE is not None
    store(tmp_path, None).record_run(run("t", 0, notes="".join(SPELLINGS) * 10))
    counted = subprocess.run(
        [NODE, "-e", READ, str(snapshot(tmp_path))], capture_output=True, text=True, check=True
    )
    assert int(counted.stdout) == utf16_units(snapshot(tmp_path).read_bytes())


@needs_node
@pytest.mark.parametrize(("more", "answer"), [(0, str(NODE_LIMIT)), (1, "Invalid string length")])
def test_node_reads_a_text_of_the_limit_and_none_that_is_longer(
    tmp_path: Path, more: int, answer: str
) -> None:
    """As the orchestrator reads its snapshots. A hole in a file reads as NULs, which are characters too."""
    assert NODE is not None
    file = tmp_path / "text"
    file.touch()
    os.truncate(file, NODE_LIMIT + more)
    read = subprocess.run([NODE, "-e", READ, str(file)], capture_output=True, text=True, check=True)
    assert read.stdout.strip() == answer
