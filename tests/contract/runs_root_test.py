"""The layout of the orchestrator's own root, and how one is recognised."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.scans import put

from batchpersist.contract.runs_root import (
    is_root,
    is_task_folder,
    manifest_of,
    root_above,
    runs_in,
    summary_of,
    tasks_in,
)


def root_of(folder: Path, *files: str) -> str:
    for file in files:
        put(folder / file, b"{}")
    return str(folder)


def test_a_root_is_recognised_by_a_run_folder_in_a_task(tmp_path: Path) -> None:
    root = root_of(tmp_path, "old/r0/manifest.json", "billing/cli/r1/run-summary.json")
    assert (is_root(root), is_task_folder(f"{root}/billing"), is_task_folder(f"{root}/old")) == (
        True,
        True,
        False,
    )


def test_a_run_that_has_not_completed_shows_a_root_too(tmp_path: Path) -> None:
    assert is_root(root_of(tmp_path, "billing/cli/r1/.heartbeat", "billing/cli/r1/manifest.json"))


@pytest.mark.parametrize(
    "file",
    [
        "cli/r1/manifest.json",  # a task that is called cli
        "billing/cli/r1/manifest.json",
        "cli/run-summary.json",
        "billing/cli/run-summary.json",
        "billing/r1/run-summary.json",
        "a/b/cli/r1/run-summary.json",  # the root is the folder in it
        "local-mcp/cli/control-host/.heartbeat",
    ],
)
def test_other_folders_are_not_roots(tmp_path: Path, file: str) -> None:
    assert not is_root(root_of(tmp_path, file))


def test_a_missing_folder_is_not_a_root(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert [is_root(f"{tmp_path}/{name}") for name in ("missing", "file")] == [False, False]


def test_links_do_not_lead_into_a_root(tmp_path: Path) -> None:
    elsewhere = root_of(tmp_path / "elsewhere", "cli/r1/run-summary.json")
    (tmp_path / "root" / "billing").mkdir(parents=True)
    (tmp_path / "root" / "search").symlink_to(elsewhere)
    (tmp_path / "root" / "billing" / "cli").symlink_to(f"{elsewhere}/cli")
    assert not is_root(f"{tmp_path}/root")


def test_special_folders_are_neither_tasks_nor_runs(tmp_path: Path) -> None:
    root = root_of(
        tmp_path,
        "local-mcp/r1/manifest.json",
        ".batchpersist/batches/b/batch.json",
        "billing.lock",
        "billing/cli/r1/run-summary.json",
        "billing/cli/.old/run-summary.json",
        "billing/mcp/r1/manifest.json",
        "billing/metrics/baseline.json",
        "billing/metrics.pending/x.json",
        "billing/metrics.json",
        "billing/r1/manifest.json",
        "billing/r0/manifest.json",
    )
    assert (list(tasks_in(root)), runs_in(f"{root}/billing")) == (["billing"], {"r0", "r1"})


def test_a_run_has_its_summary_and_its_manifest_at_fixed_places() -> None:
    assert (summary_of("r1"), manifest_of("r1")) == ("cli/r1/run-summary.json", "r1/manifest.json")


@pytest.mark.parametrize(
    ("key", "above"),
    [
        ("bucket/team/billing/cli/r1/run-summary.json", 2),
        ("billing/cli/r1/.heartbeat", 0),
        ("bucket/cli/r1/manifest.json", None),
        ("cli/r1/run-summary.json", None),
    ],
)
def test_an_object_shows_where_its_root_is(key: str, above: int | None) -> None:
    assert root_above(key.split("/")) == above
