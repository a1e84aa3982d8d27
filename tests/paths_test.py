"""The two roots: neither may be inside the other, nor may they be the same folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from batchpersist.audit import AuditOptions
from batchpersist.batch.run import run_batch
from batchpersist.batch_job import BatchJob
from batchpersist.cli.main import cli
from batchpersist.errors import UsageError
from batchpersist.options import BatchOptions

NESTED = [("x", "x"), ("x/out", "x"), ("x", "x/.runs"), (".", ".runs"), ("link/out", "x"), ("x", "link/runs")]


@pytest.mark.parametrize(("out_dir", "runs_dir"), NESTED)
def test_nested_roots_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out_dir: str, runs_dir: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to("x")
    (tmp_path / "s.json").write_text(json.dumps({"taskId": "t", "runId": "r", "timestamp": "2026"}))
    with pytest.raises(UsageError, match="must"):
        run_batch(["s.json"], BatchOptions(out_dir, runs_dir))
    with pytest.raises(UsageError, match="must"):
        AuditOptions(out_dir, runs_dir)
    for words in ("run s.json", "run s.json --dry-run", "compare s.json", "audit", "repair --yes"):
        result = CliRunner().invoke(cli, [*words.split(), "--out-dir", out_dir, "--runs-dir", runs_dir])
        assert (result.exit_code, list((tmp_path / "x").iterdir())) == (2, [])


def test_roots_with_a_common_prefix_are_accepted() -> None:
    BatchJob(BatchOptions("x", "x-runs")).check_paths()
    AuditOptions("x-out", "x")
