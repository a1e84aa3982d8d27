"""What a root remembers: with which keys, and together with which out-dir, it was written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from batchpersist.audit import AuditOptions, audit_root
from batchpersist.batch.dry_run import preview_batch
from batchpersist.batch.run import run_batch
from batchpersist.cli.main import cli
from batchpersist.compare.options import CompareOptions
from batchpersist.compare.run import compare_batches
from batchpersist.errors import UsageError
from batchpersist.models import Keys
from batchpersist.options import BatchOptions

KEYS = ("--task-key", "task_id", "--run-key", "run_id", "--time-key", "completed_at")
OTHER = Keys("task_id", "run_id", "completed_at")
BOTH_NAMED = (
    "was written with --task-key task_id --run-key run_id --time-key completed_at, "
    "not with --task-key taskId --run-key runId --time-key timestamp"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    runs = [{"task_id": "mail", "run_id": f"r{n}", "completed_at": f"2026-01-0{n}"} for n in (1, 2, 3)]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(run) + "\n" for run in runs))
    return tmp_path


def command(*words: str) -> Result:
    quick = ["--pause", "0"] if words[0] in ("audit", "repair") else []
    return CliRunner().invoke(cli, [*words, *quick])


@pytest.fixture
def written() -> None:
    assert command("run", "s.jsonl", *KEYS).exit_code == 0


def trees() -> dict[str, bytes]:
    """Snapshots and manifests."""
    paths = [*Path("out").glob("*/*"), *Path(".runs").glob("[!.]*/*/*")]
    return {str(path): path.read_bytes() for path in paths}


def test_audit_and_repair_use_the_keys_that_the_root_was_written_with(written: None) -> None:
    before = trees()
    assert len(before) == 4
    result = command("audit")
    assert (result.exit_code, result.stdout) == (0, "3 runs of 1 task compared: no difference.\n")
    assert command("repair", "--yes").exit_code == 0
    assert trees() == before


def test_run_and_dry_run_use_the_keys_that_the_root_was_written_with(written: None) -> None:
    assert "3 unchanged" in command("run", "s.jsonl").stdout
    assert "3 unchanged" in command("run", "s.jsonl", "--dry-run").stdout
    assert "3 unchanged" in command("run", ".runs").stdout


def test_key_options_left_out_are_those_of_the_root(written: None) -> None:
    assert command("audit", "--run-key", "run_id").exit_code == 0


def test_retry_compare_status_and_report_work_on_a_root_with_other_keys(written: None) -> None:
    for words in (["retry"], ["status"], ["report"]):
        assert command(*words).exit_code == 0
    compared = command(
        "compare", "s.jsonl", "--rounds", "1", "--warmup", "0", "-j", "1", "--progress", "none"
    )
    assert compared.exit_code == 0, compared.output


@pytest.mark.parametrize(
    "words", [["run", "s.jsonl"], ["run", "s.jsonl", "--dry-run"], ["audit"], ["repair", "--yes"]]
)
def test_other_keys_are_refused_and_both_are_named(written: None, words: list[str]) -> None:
    before = trees()
    usual = ["--task-key", "taskId", "--run-key", "runId", "--time-key", "timestamp"]
    result = command(*words, *usual)
    assert result.exit_code == 2
    assert BOTH_NAMED in " ".join(result.output.split())
    assert trees() == before


def test_the_library_refuses_other_keys_too(written: None) -> None:
    calls: list[Any] = [
        lambda: audit_root(AuditOptions()),
        lambda: run_batch(["s.jsonl"]),
        lambda: preview_batch(["s.jsonl"], BatchOptions()),
        lambda: compare_batches(["s.jsonl"], CompareOptions()),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=BOTH_NAMED):
            call()
    assert audit_root(AuditOptions(keys=OTHER, pause_seconds=0)).exit_code == 0


def test_a_batch_that_persists_nothing_leaves_the_keys_open() -> None:
    assert command("run", "s.jsonl").exit_code == 3
    assert command("run", "s.jsonl", *KEYS).exit_code == 0


def test_file_that_only_lacks_keys_is_never_set_aside(written: None) -> None:
    before = trees()
    os.unlink(".runs/.batchpersist/root.json")  # as a version that remembered nothing left it
    audit = command("audit", "--json")
    told = map(json.loads, audit.stdout.splitlines())
    kinds = [message["kind"] for message in told if message["message_type"] == "finding"]
    assert (audit.exit_code, kinds) == (5, ["lacks-keys"] * 4)
    repair = command("repair", "--yes")
    assert (repair.exit_code, trees()) == (3, before)
    assert "--task-key" in repair.stdout


def test_a_damaged_snapshot_whose_entries_lack_the_keys_is_left(written: None) -> None:
    os.unlink(".runs/.batchpersist/root.json")
    shutil.rmtree(".runs/mail")
    snapshot = Path("out/mail/runs.json")
    snapshot.write_bytes(snapshot.read_bytes().replace(b'"r1"', b'"r1'))
    before = trees()
    repair = command("repair", "--yes")
    assert (repair.exit_code, trees()) == (3, before)
    assert "its entries lack a key" in repair.stdout


def test_a_record_that_cannot_be_read_is_named(written: None) -> None:
    Path(".runs/.batchpersist/root.json").write_text("{")
    for words in (["run", "s.jsonl"], ["audit"], ["repair", "--yes"]):
        result = command(*words)
        assert result.exit_code == 2
        assert ".batchpersist/root.json" in result.output


@pytest.mark.parametrize("name", ["audit", "repair"])
def test_another_out_dir_is_refused_and_both_are_named(written: None, folder: Path, name: str) -> None:
    (folder / "elsewhere").mkdir()
    result = command(name, "--out-dir", "elsewhere", *(["--yes"] if name == "repair" else []))
    assert result.exit_code == 2
    for out_dir in ("out", "elsewhere"):
        assert str(folder / out_dir) in result.output
    assert list((folder / "elsewhere").iterdir()) == []


def test_an_out_dir_that_a_batch_wrote_to_is_right(written: None) -> None:
    assert command("run", "s.jsonl", "--out-dir", "elsewhere").exit_code == 0
    assert command("audit", "--out-dir", "elsewhere").exit_code == 0
    assert command("audit").exit_code == 0


def test_roots_may_be_moved_together(written: None, folder: Path) -> None:
    (folder / "new").mkdir()
    shutil.move("out", "new/out")
    shutil.move(".runs", "new/.runs")
    assert command("audit", "--out-dir", "new/out", "--runs-dir", "new/.runs").exit_code == 0
